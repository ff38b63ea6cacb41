package org.sparkpeft.federated.track;

import java.util.ArrayList;
import java.util.List;
import java.util.function.DoubleFunction;

/**
 * How many values fall into each of some equally wide, half-open bins; the last bin has its upper
 * edge, too.
 *
 * @param width width of a bin
 * @param first lower edge of the first bin, in widths
 * @param counts one for each bin
 */
record Histogram(double width, long first, List<Double> counts) {
  /** Bins are at most this many, or their labels would touch. */
  private static final int MAX_BINS = 8;

  /** Values a rounding error below an edge belong above it. */
  private static final double SLACK = 1e-9;

  /**
   * @param ascending finite values, at least one
   * @param narrowest width of a bin at least
   */
  static Histogram of(List<Double> ascending, double narrowest) {
    double low = ascending.get(0);
    double high = ascending.get(ascending.size() - 1);
    double width = narrowest;
    while (bins(low, high, width) > MAX_BINS) {
      // The next of 1, 2, 5, 10, ... times a power of ten.
      width = ChartStyle.step(5 * width * 1.01);
    }
    long first = (long) Math.floor(low / width + SLACK);
    double[] counts = new double[bins(low, high, width)];
    for (double value : ascending) {
      long bin = (long) Math.floor(value / width + SLACK) - first;
      counts[(int) Math.min(Math.max(bin, 0), counts.length - 1)]++;
    }
    List<Double> boxed = new ArrayList<>();
    for (double count : counts) {
      boxed.add(count);
    }
    return new Histogram(width, first, boxed);
  }

  private static int bins(double low, double high, double width) {
    long first = (long) Math.floor(low / width + SLACK);
    return (int)
        Math.min(Integer.MAX_VALUE, Math.max(1, (long) Math.ceil(high / width - SLACK) - first));
  }

  /** The lower edge of each bin. */
  List<String> categories(DoubleFunction<String> edge) {
    List<String> categories = new ArrayList<>();
    for (int i = 0; i < counts.size(); i++) {
      categories.add(edge.apply((first + i) * width));
    }
    return categories;
  }
}
