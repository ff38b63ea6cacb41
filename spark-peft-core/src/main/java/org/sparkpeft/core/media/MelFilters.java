package org.sparkpeft.core.media;

import java.util.Arrays;

/** Triangular filters, evenly spaced on a scale of pitch, over the bins of a spectrum. */
final class MelFilters {
  /** Scales of pitch. */
  enum Scale {
    /** Kaldi's: {@code 1127 ln(1 + f / 700)}; the triangles have straight sides in mel. */
    KALDI,
    /** Slaney's: linear to 1 kHz, then logarithmic; straight sides in hertz, areas of 1. */
    SLANEY
  }

  private static final double BREAK = 1000;
  private static final double BREAK_MEL = 15;
  private static final double STEP = 27 / Math.log(6.4);

  private final double[][] weights;
  private final int[] first;

  /**
   * @param filters number of filters
   * @param bins of the spectrum, from 0 to half the rate
   * @param lowest frequency at which the first filter starts
   * @param rate samples in a second; the last filter ends at half of it
   */
  MelFilters(Scale scale, int filters, int bins, double lowest, int rate) {
    double[] corners = new double[filters + 2]; // mel
    double from = mel(scale, lowest);
    int half = rate / 2;
    double to = mel(scale, half);
    for (int i = 0; i < corners.length; i++) {
      corners[i] = from + (to - from) * i / (filters + 1);
    }
    double[] at = new double[bins];
    for (int bin = 0; bin < bins; bin++) {
      double hertz = (rate / 2.0) * bin / (bins - 1);
      at[bin] = scale == Scale.KALDI ? mel(scale, hertz) : hertz;
    }
    if (scale == Scale.SLANEY) {
      for (int i = 0; i < corners.length; i++) {
        corners[i] = hertz(corners[i]);
      }
    }
    this.weights = new double[filters][];
    this.first = new int[filters];
    for (int f = 0; f < filters; f++) {
      double area = scale == Scale.SLANEY ? 2 / (corners[f + 2] - corners[f]) : 1;
      triangle(f, at, corners[f], corners[f + 1], corners[f + 2], area);
    }
  }

  private void triangle(
      int filter, double[] at, double left, double middle, double right, double area) {
    int from = at.length;
    int to = 0;
    double[] all = new double[at.length];
    for (int bin = 0; bin < at.length; bin++) {
      double up = (at[bin] - left) / (middle - left);
      double down = (right - at[bin]) / (right - middle);
      all[bin] = Math.max(0, Math.min(up, down)) * area;
      if (all[bin] > 0) {
        from = Math.min(from, bin);
        to = bin + 1;
      }
    }
    first[filter] = Math.min(from, to);
    weights[filter] = Arrays.copyOfRange(all, first[filter], to);
  }

  private static double mel(Scale scale, double hertz) {
    return switch (scale) {
      case KALDI -> 1127 * Math.log(1 + hertz / 700);
      case SLANEY -> hertz < BREAK ? 3 * hertz / 200 : BREAK_MEL + Math.log(hertz / BREAK) * STEP;
    };
  }

  /** Slaney's scale backwards. */
  private static double hertz(double mel) {
    return mel < BREAK_MEL ? 200 * mel / 3 : BREAK * Math.exp((mel - BREAK_MEL) / STEP);
  }

  int count() {
    return weights.length;
  }

  /** The weight of one filter at one bin. */
  double weight(int filter, int bin) {
    int at = bin - first[filter];
    return at >= 0 && at < weights[filter].length ? weights[filter][at] : 0;
  }

  /** Energy under a filter. */
  double apply(int filter, double[] spectrum) {
    double sum = 0;
    for (int i = 0; i < weights[filter].length; i++) {
      sum += weights[filter][i] * spectrum[first[filter] + i];
    }
    return sum;
  }
}
