package org.sparkpeft.federated.cli;

/** Times work the simple way: repeat until it has warmed up, keep the best. */
final class Stopwatch {
  private static final double LEAST_SECONDS = 1.0;
  private static final int LEAST_RUNS = 4;
  private static final int MOST_RUNS = 60;

  private Stopwatch() {}

  /** Seconds of the fastest of several runs. */
  static double best(Runnable work) {
    double best = Double.POSITIVE_INFINITY;
    double spent = 0;
    for (int run = 0; run < MOST_RUNS && (run < LEAST_RUNS || spent < LEAST_SECONDS); run++) {
      long start = System.nanoTime();
      work.run();
      double seconds = (System.nanoTime() - start) / 1e9;
      spent += seconds;
      best = Math.min(best, seconds);
    }
    return best;
  }
}
