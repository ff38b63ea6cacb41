package org.sparkpeft.merge.compress;

import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterLayout;

/**
 * Keeps K = floor(density d) entries chosen at random, all alike, times d / K so that the result is
 * right on average; its variance is (d / K - 1) ||v||^2. Which entries follows from the layout and
 * the round alone: no positions travel, and all clients of a round keep the same ones, as secure
 * aggregation needs.
 *
 * @param density fraction kept, in (0, 1]
 */
record RandomK(double density) {
  RandomK {
    Sparsifiers.requireDensity(density);
  }

  Sparse sparsify(float[] values, ParameterLayout layout, int round) {
    int k = TopKSelection.keptCount(density, values.length);
    Sparse kept = Sparse.gather(values, positions(k, layout, round));
    float factor = (float) ((double) values.length / k);
    for (int i = 0; i < kept.count(); i++) {
      kept.values()[i] = SharedExponent.clamp(kept.values()[i] * factor);
    }
    return kept;
  }

  /** The {@code k} positions of a round, ascending: those with the largest random keys. */
  static int[] positions(int k, ParameterLayout layout, int round) {
    Philox random = Philox.of(layout.fingerprint(), "random-k", round);
    float[] keys = random.uniform(layout.size(), 0x1p-24f, 1 + 0x1p-24f);
    return TopKSelection.indices(keys, 0, keys.length, k);
  }
}
