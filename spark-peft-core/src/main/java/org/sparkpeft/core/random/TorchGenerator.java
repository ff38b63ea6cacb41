package org.sparkpeft.core.random;

import java.util.HashMap;
import java.util.Map;

/**
 * The numbers that PyTorch's CPU generator gives for a seed, for reading what files leave out
 * because the seed implies it: the Mersenne Twister MT19937 (Matsumoto and Nishimura 1998) and, on
 * top, {@code torch.randperm} and {@code torch.rand}. Everything of our own comes from {@link
 * Philox}. Not thread-safe.
 */
public final class TorchGenerator {
  private static final int SIZE = 624;
  private static final int SHIFT = 397;

  /** Longest permutation for which PyTorch draws 32 bits a step. */
  public static final int MAX_PERMUTATION = (int) (0xFFFFFFFFL / 20) - 1;

  private final int[] state = new int[SIZE];
  private int next = SIZE;

  /**
   * @param seed as in {@code manual_seed}; its low 32 bits decide
   */
  public TorchGenerator(long seed) {
    state[0] = (int) seed;
    for (int i = 1; i < SIZE; i++) {
      state[i] = 1812433253 * (state[i - 1] ^ (state[i - 1] >>> 30)) + i;
    }
  }

  /** The next 32 bits. */
  public int nextInt() {
    if (next == SIZE) {
      twist();
      next = 0;
    }
    int y = state[next++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9D2C5680;
    y ^= (y << 15) & 0xEFC60000;
    return y ^ (y >>> 18);
  }

  private void twist() {
    for (int i = 0; i < SIZE; i++) {
      int y = (state[i] & 0x80000000) | (state[(i + 1) % SIZE] & 0x7FFFFFFF);
      int mixed = state[(i + SHIFT) % SIZE] ^ (y >>> 1);
      state[i] = (y & 1) == 0 ? mixed : mixed ^ 0x9908B0DF;
    }
  }

  /**
   * The first {@code count} entries of {@code torch.randperm(n)}, in memory proportional to their
   * number.
   *
   * @param n at most {@link #MAX_PERMUTATION}
   * @throws IllegalArgumentException if n is larger, or {@code count} larger than n
   */
  public int[] permutation(int n, int count) {
    if (n > MAX_PERMUTATION || count > n) {
      throw new IllegalArgumentException(
          "the first " + count + " of a permutation of " + n + "; most is " + MAX_PERMUTATION);
    }
    Map<Integer, Integer> moved = new HashMap<>();
    int[] first = new int[count];
    for (int i = 0; i < count; i++) {
      int j = i;
      if (i < n - 1) {
        j += (int) ((nextInt() & 0xFFFFFFFFL) % (n - i));
      }
      int here = moved.getOrDefault(i, i);
      first[i] = moved.getOrDefault(j, j);
      moved.put(j, here);
    }
    return first;
  }

  /** {@code length} numbers of {@code torch.rand}: uniform in [0, 1) with 24 random bits. */
  public float[] uniform(int length) {
    float[] values = new float[length];
    for (int i = 0; i < length; i++) {
      values[i] = (nextInt() & 0xFFFFFF) * 0x1.0p-24f;
    }
    return values;
  }
}
