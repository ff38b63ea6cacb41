package org.sparkpeft.core.media;

/**
 * Discrete Fourier transform of any length by Cooley and Tukey's split into the length's prime
 * factors, in double precision. Not safe for use by several threads.
 */
final class Fourier {
  private final int size;
  private final double[] cos;
  private final double[] sin;
  private final double[] real;
  private final double[] imaginary;

  Fourier(int size) {
    this.size = size;
    this.cos = new double[size];
    this.sin = new double[size];
    for (int i = 0; i < size; i++) {
      cos[i] = Math.cos(2 * Math.PI * i / size);
      sin[i] = -Math.sin(2 * Math.PI * i / size);
    }
    this.real = new double[size];
    this.imaginary = new double[size];
  }

  /** Frequencies from 0 to half the sampling rate. */
  int bins() {
    return size / 2 + 1;
  }

  /**
   * Squared magnitudes of a real signal's transform.
   *
   * @param signal {@code [size]}
   * @param power {@code [bins]}, written
   */
  void power(double[] signal, double[] power) {
    transform(signal, 0, 1, 0, size);
    for (int i = 0; i < bins(); i++) {
      power[i] = real[i] * real[i] + imaginary[i] * imaginary[i];
    }
  }

  /** The transform of every {@code stride}-th number, {@code length} of them, to {@code at}. */
  private void transform(double[] signal, int from, int stride, int at, int length) {
    if (length == 1) {
      real[at] = signal[from];
      imaginary[at] = 0;
      return;
    }
    int parts = smallestFactor(length);
    int part = length / parts;
    for (int p = 0; p < parts; p++) {
      transform(signal, from + p * stride, stride * parts, at + p * part, part);
    }
    double[] re = new double[parts];
    double[] im = new double[parts];
    int turn = size / length;
    for (int k = 0; k < part; k++) {
      for (int p = 0; p < parts; p++) {
        re[p] = real[at + p * part + k];
        im[p] = imaginary[at + p * part + k];
      }
      for (int q = 0; q < parts; q++) {
        int bin = k + q * part;
        double sumRe = 0;
        double sumIm = 0;
        for (int p = 0; p < parts; p++) {
          int angle = (int) ((long) p * bin % length) * turn;
          sumRe += re[p] * cos[angle] - im[p] * sin[angle];
          sumIm += re[p] * sin[angle] + im[p] * cos[angle];
        }
        real[at + bin] = sumRe;
        imaginary[at + bin] = sumIm;
      }
    }
  }

  private static int smallestFactor(int n) {
    for (int factor = 2; (long) factor * factor <= n; factor++) {
      if (n % factor == 0) {
        return factor;
      }
    }
    return n;
  }
}
