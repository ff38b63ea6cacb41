package org.sparkpeft.federated.cli;

import java.util.Arrays;

/** Times work the simple way: repeat until it has warmed up, keep the best. */
final class Stopwatch {
  private static final double LEAST_SECONDS = 1.0;
  private static final int LEAST_RUNS = 4;
  private static final int MOST_RUNS = 60;

  private Stopwatch() {}

  /** Seconds of the fastest of several runs. */
  static double best(Runnable work) {
    return bestOfEach(work)[0];
  }

  /**
   * Seconds of the fastest of several runs of each, in turns, so that what else the machine does
   * falls on all alike.
   */
  static double[] bestOfEach(Runnable... works) {
    double[] best = new double[works.length];
    Arrays.fill(best, Double.POSITIVE_INFINITY);
    double spent = 0;
    double enough = LEAST_SECONDS * works.length;
    for (int run = 0; run < MOST_RUNS && (run < LEAST_RUNS || spent < enough); run++) {
      for (int i = 0; i < works.length; i++) {
        long start = System.nanoTime();
        works[i].run();
        double seconds = (System.nanoTime() - start) / 1e9;
        spent += seconds;
        best[i] = Math.min(best[i], seconds);
      }
    }
    return best;
  }
}
