package org.sparkpeft.merge.method;

import java.util.List;
import org.sparkpeft.core.random.Philox;

/**
 * A number that belongs to a vector's values, for random choices that must not depend on where the
 * vector stands among others: a hash of the bits of a few entries of each tensor, evenly spaced.
 * Cheap for a vector of any size. Two vectors that agree in all of those draw the same numbers,
 * which is harmless.
 */
public final class VectorIdentity {
  private static final int SAMPLES = 8;
  private long hash;

  /** Positions looked at in a tensor of {@code size} entries. */
  public static long[] positions(long size) {
    int count = (int) Math.min(size, SAMPLES);
    long[] positions = new long[count];
    for (int i = 0; i < count; i++) {
      // Towards the middle of each stretch: ends are often padding.
      positions[i] = size <= SAMPLES ? i : (2L * i + 1) * (size / (2L * SAMPLES));
    }
    return positions;
  }

  /** Takes the next tensor's values at {@link #positions}; tensors in layout order. */
  public void add(List<Float> values) {
    hash = Philox.mix(hash ^ values.size());
    for (float value : values) {
      hash = Philox.mix(hash ^ Float.floatToIntBits(value));
    }
  }

  public long value() {
    return hash;
  }
}
