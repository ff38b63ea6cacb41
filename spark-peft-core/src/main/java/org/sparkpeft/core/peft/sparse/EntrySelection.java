package org.sparkpeft.core.peft.sparse;

import java.util.Arrays;
import java.util.BitSet;
import org.sparkpeft.core.random.Philox;

/** Chooses entries of flat tensors. Ties go to the lower index, so results never vary. */
final class EntrySelection {
  private static final int CHUNK = 4096;
  private static final int HALF = 16;

  private EntrySelection() {}

  /**
   * The entries with the largest scores.
   *
   * @param count how many; fewer are returned if fewer are allowed
   * @param excluded entries not to choose
   * @return largest score first
   */
  static int[] largest(float[] scores, int count, BitSet excluded) {
    int n = 0;
    for (int i = 0; i < scores.length; i++) {
      n += excluded.get(i) ? 0 : 1;
    }
    int wanted = Math.min(count, n);
    if (wanted == 0) {
      return new int[0];
    }
    float threshold = threshold(scores, wanted, excluded);
    int above = 0;
    for (int i = 0; i < scores.length; i++) {
      above += scores[i] > threshold && !excluded.get(i) ? 1 : 0;
    }
    // Sorted as one number: the score's falling bits, then the index.
    long[] chosen = new long[wanted];
    int first = 0;
    int tied = above;
    for (int i = 0; i < scores.length && (first < above || tied < wanted); i++) {
      if (excluded.get(i)) {
        continue;
      }
      if (scores[i] > threshold) {
        chosen[first++] = (~key(scores[i]) & 0xFFFFFFFFL) << 31 | i;
      } else if (scores[i] == threshold && tied < wanted) {
        chosen[tied++] = i;
      }
    }
    Arrays.sort(chosen, 0, above);
    return Arrays.stream(chosen).mapToInt(entry -> (int) (entry & Integer.MAX_VALUE)).toArray();
  }

  /** The score that {@code wanted} entries reach: two counting passes over halves of its bits. */
  private static float threshold(float[] scores, int wanted, BitSet excluded) {
    int[] counts = new int[1 << HALF];
    for (int i = 0; i < scores.length; i++) {
      if (!excluded.get(i)) {
        counts[key(scores[i]) >>> HALF]++;
      }
    }
    int left = wanted;
    int high = counts.length - 1;
    while (counts[high] < left) {
      left -= counts[high--];
    }
    Arrays.fill(counts, 0);
    for (int i = 0; i < scores.length; i++) {
      int key = key(scores[i]);
      if (key >>> HALF == high && !excluded.get(i)) {
        counts[key & ((1 << HALF) - 1)]++;
      }
    }
    int low = counts.length - 1;
    while (counts[low] < left) {
      left -= counts[low--];
    }
    int key = high << HALF | low;
    return Float.intBitsToFloat(key < 0 ? key ^ Integer.MIN_VALUE : ~key);
  }

  /** Bits that rise, unsigned, with the number; both zeros have the same. */
  private static int key(float score) {
    int bits = Float.floatToRawIntBits(score + 0f);
    return bits < 0 ? ~bits : bits | Integer.MIN_VALUE;
  }

  static int[] largest(float[] scores, int count) {
    return largest(scores, count, new BitSet());
  }

  /** {@code count} of {@code n} entries, each set equally likely, ascending (Knuth's method S). */
  static int[] random(Philox random, int n, int count) {
    int[] chosen = new int[count];
    double[] numbers = new double[CHUNK];
    int found = 0;
    for (int i = 0; i < n && found < count; i++) {
      if (i % CHUNK == 0) {
        doubles(random, i, numbers);
      }
      if (numbers[i % CHUNK] * (n - i) < count - found) {
        chosen[found++] = i;
      }
    }
    return chosen;
  }

  private static void doubles(Philox random, int from, double[] into) {
    for (int i = 0; i < into.length; i++) {
      into[i] = random.doubleAt(from + (long) i);
    }
  }

  /** Each of {@code n} entries with the same probability, ascending. */
  static int[] bernoulli(Philox random, int n, double probability) {
    int[] chosen = new int[n];
    double[] numbers = new double[CHUNK];
    int found = 0;
    for (int i = 0; i < n; i++) {
      if (i % CHUNK == 0) {
        doubles(random, i, numbers);
      }
      if (numbers[i % CHUNK] < probability) {
        chosen[found++] = i;
      }
    }
    return Arrays.copyOf(chosen, found);
  }

  static float[] magnitudes(float[] values) {
    float[] magnitudes = new float[values.length];
    for (int i = 0; i < values.length; i++) {
      magnitudes[i] = Math.abs(values[i]);
    }
    return magnitudes;
  }
}
