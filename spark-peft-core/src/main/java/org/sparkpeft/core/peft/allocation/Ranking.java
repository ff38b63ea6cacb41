package org.sparkpeft.core.peft.allocation;

import java.util.Comparator;
import java.util.Map;
import java.util.stream.IntStream;

/** Which of many scored things are picked. Equal scores are told apart by position. */
final class Ranking {
  /** Report of a client's {@code TrainingSpan.totalUpdates()}: the length of the whole in steps. */
  static final String TOTAL_UPDATES = "total_updates";

  private Ranking() {}

  /** Positions by falling score, the first of equals first. */
  static int[] falling(float[] scores) {
    return IntStream.range(0, scores.length)
        .boxed()
        .sorted(Comparator.comparing((Integer i) -> -scores[i]))
        .mapToInt(Integer::intValue)
        .toArray();
  }

  /**
   * Keeps the best: true for the {@code count} highest scores. Exactly that many, where comparing
   * with a threshold would treat equals alike.
   */
  static boolean[] best(float[] scores, int count) {
    boolean[] kept = new boolean[scores.length];
    int[] order = falling(scores);
    for (int i = 0; i < Math.min(count, order.length); i++) {
      kept[order[i]] = true;
    }
    return kept;
  }

  /**
   * Divides by the mean, so that a client with a larger loss does not count for more: products of
   * two gradients grow with its square.
   */
  static void normalise(Iterable<float[]> scores) {
    double sum = 0;
    long count = 0;
    for (float[] some : scores) {
      for (float score : some) {
        sum += score;
        count++;
      }
    }
    if (sum > 0) {
      for (float[] some : scores) {
        for (int i = 0; i < some.length; i++) {
          some[i] = (float) (some[i] / (sum / count));
        }
      }
    }
  }

  /** How many steps in (from, to] are multiples of {@code interval} and above {@code warmup}. */
  static int events(long from, long to, int interval, int warmup) {
    long start = Math.max(from, warmup);
    return (int) Math.max(0, to / interval - start / interval);
  }

  /** Number of updates of the whole, from the mean of what clients reported; 0 if none did. */
  static int totalUpdates(Map<String, float[]> reports) {
    float[] total = reports.get(TOTAL_UPDATES);
    return total == null ? 0 : Math.round(total[0]);
  }
}
