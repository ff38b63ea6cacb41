package org.sparkpeft.core.peft.reparam;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.index.NDIndex;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import org.sparkpeft.core.engine.Scalars;

/**
 * One level of the inverse discrete wavelet transform in two dimensions, without what the borders
 * distort.
 *
 * @param low reconstruction low-pass filter, of even length L
 */
record Wavelet(float[] low) {
  private static final Map<String, Wavelet> ALL = read();

  static Map<String, Wavelet> all() {
    return ALL;
  }

  private static Map<String, Wavelet> read() {
    Map<String, Wavelet> all = new LinkedHashMap<>();
    InputStream file = Objects.requireNonNull(Wavelet.class.getResourceAsStream("wavelets.txt"));
    try (BufferedReader lines =
        new BufferedReader(new InputStreamReader(file, StandardCharsets.UTF_8))) {
      lines
          .lines()
          .filter(line -> !line.startsWith("#"))
          .map(line -> line.split(" "))
          .forEach(words -> all.put(words[0], parse(words)));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return Collections.unmodifiableMap(all);
  }

  private static Wavelet parse(String[] words) {
    float[] low = new float[words.length - 1];
    for (int i = 0; i < low.length; i++) {
      low[i] = (float) Double.parseDouble(words[i + 1]);
    }
    return new Wavelet(low);
  }

  /** {@code (-1)^i low[L - 1 - i]}. */
  private float high(int i) {
    return (i % 2 == 0 ? 1 : -1) * low[low.length - 1 - i];
  }

  /** Entries that the transform of a side is shorter than its coefficients: L - 2. */
  int border() {
    return low.length - 2;
  }

  /**
   * The transform of both axes.
   *
   * @param coefficients {@code [2 h, 2 w]}: low-pass in both axes, then high-pass in the second at
   *     the right, in the first at the bottom
   * @return {@code [2 h - (L - 2), 2 w - (L - 2)]}
   */
  NDArray inverse(NDArray coefficients) {
    NDArray rows = alongRows(coefficients);
    return alongRows(rows.transpose()).transpose();
  }

  /**
   * Row {@code 2 i + a} gets row i times tap a. Even and odd rows are made apart, from shifted
   * coefficients.
   */
  private NDArray alongRows(NDArray coefficients) {
    NDList halves = coefficients.split(2, 0);
    long size = halves.get(0).getShape().get(0);
    int taps = low.length / 2;
    NDArray[] phases = new NDArray[2];
    for (int phase = 0; phase < 2; phase++) {
      for (int tap = 0; tap < taps; tap++) {
        NDIndex rows = new NDIndex((taps - 1 - tap) + ":" + (size - tap));
        int at = phase + 2 * tap;
        NDArray part =
            Scalars.times(halves.get(0).get(rows), low[at])
                .add(Scalars.times(halves.get(1).get(rows), high(at)));
        phases[phase] = tap == 0 ? part : phases[phase].add(part);
      }
    }
    NDArray both = phases[0].expandDims(1).concat(phases[1].expandDims(1), 1); // [n, 2, columns]
    return both.reshape(2 * (size - taps + 1), coefficients.getShape().get(1));
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof Wavelet that && Arrays.equals(low, that.low);
  }

  @Override
  public int hashCode() {
    return Arrays.hashCode(low);
  }

  @Override
  public String toString() {
    return "Wavelet" + Arrays.toString(low);
  }
}
