package org.sparkpeft.core.peft.sharing;

import java.util.List;
import org.sparkpeft.core.random.Philox;

/** Which slot of a pool each of n consecutive weights reads, n at least the pool's size. */
final class PoolMapping {
  static final String RANDOMFOLD = "randomfold";
  static final String ROBE_Z = "robe-z";
  static final List<String> NAMES = List.of(RANDOMFOLD, ROBE_Z);

  /** Prime of ROBE's hash; larger than any number of chunks here. */
  private static final long PRIME = 2_038_074_743L;

  private PoolMapping() {}

  /**
   * RANDOMFOLD: the weights are cut into partitions of the pool's size, and weight j of partition c
   * reads slot {@code (factors[c] j + offsets[c]) mod slots}.
   *
   * @param factors of each partition, without a common divisor with {@code slots}, so that the map
   *     is a bijection
   */
  static int[] randomFold(int n, int slots, long[] factors, long[] offsets) {
    int[] index = new int[n];
    for (int i = 0; i < n; i++) {
      int partition = i / slots;
      long j = i % slots;
      index[i] = (int) ((factors[partition] * j + offsets[partition]) % slots);
    }
    return index;
  }

  /** RANDOMFOLD with random bijections. */
  static int[] randomFold(int n, int slots, Philox random) {
    int partitions = (n + slots - 1) / slots;
    long[] factors = new long[partitions];
    long[] offsets = new long[partitions];
    for (int c = 0; c < partitions; c++) {
      Philox own = random.child(c);
      factors[c] = coprime(slots, own);
      offsets[c] = below(slots, own, 0);
    }
    return randomFold(n, slots, factors, offsets);
  }

  private static long coprime(int slots, Philox random) {
    for (long position = 1; ; position++) {
      long factor = 1 + below(slots, random, position);
      if (divisor(factor, slots) == 1) {
        return factor;
      }
    }
  }

  private static long divisor(long a, long b) {
    return b == 0 ? a : divisor(b, a % b);
  }

  private static long below(long limit, Philox random, long position) {
    return Math.floorMod(random.longAt(position) >>> 1, limit);
  }

  /**
   * ROBE-Z: chunk c of {@code chunk} weights reads consecutive slots from {@code ((factor c +
   * offset) mod p) mod (slots - chunk + 1)}.
   */
  static int[] robe(int n, int slots, int chunk, long factor, long offset) {
    int[] index = new int[n];
    for (int i = 0; i < n; i++) {
      long c = i / chunk;
      index[i] = (int) ((factor * c + offset) % PRIME % (slots - chunk + 1)) + i % chunk;
    }
    return index;
  }

  /** ROBE-Z with a random hash. */
  static int[] robe(int n, int slots, int chunk, Philox random) {
    return robe(n, slots, chunk, 1 + below(PRIME - 1, random, 0), below(PRIME, random, 1));
  }

  /** How many weights read each slot. */
  static int[] loads(int[] index, int slots) {
    int[] loads = new int[slots];
    for (int slot : index) {
      loads[slot]++;
    }
    return loads;
  }
}
