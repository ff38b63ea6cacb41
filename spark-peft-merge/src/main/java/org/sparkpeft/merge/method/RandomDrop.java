package org.sparkpeft.merge.method;

import org.sparkpeft.core.random.Philox;
import org.sparkpeft.merge.compress.Sparsifier;

/**
 * Drops entries of each vector at random, with random numbers that belong to the vector itself: the
 * seed is mixed with a hash of its values. So neither the order of vectors nor their number changes
 * what is dropped; two equal vectors lose the same entries.
 */
final class RandomDrop {
  private RandomDrop() {}

  static Inputs apply(Inputs inputs, Sparsifier drop, Rescale rescale, long seed) {
    return inputs.mapping(
        (t, values) -> {
          Philox random = Philox.of(seed, "merge drop", hash(values));
          float[] kept = drop.sparsify(values, inputs.layout(), random).toDense(values.length);
          return rescale.apply(inputs.layout(), values, kept);
        });
  }

  private static long hash(float[] values) {
    long hash = values.length;
    for (float value : values) {
      hash = Philox.mix(hash ^ Float.floatToIntBits(value));
    }
    return hash;
  }
}
