package org.sparkpeft.core.peft;

import ai.djl.ndarray.NDArray;
import org.sparkpeft.core.random.Philox;

/**
 * Dropout whose mask is a function of a counter-based generator, so that a step drops the same
 * entries wherever and whenever it runs.
 */
public final class Dropout {
  private Dropout() {}

  /**
   * {@code x} with each entry zeroed with the given probability, and the others divided by {@code 1
   * - probability}.
   */
  public static NDArray apply(NDArray x, double probability, Philox random) {
    int size = Math.toIntExact(x.size());
    float[] mask = mask(size, probability, random);
    return x.mul(x.getManager().create(mask, x.getShape()));
  }

  /** What {@link #apply} multiplies by: 0 or {@code 1 / (1 - probability)} for each entry. */
  public static float[] mask(int size, double probability, Philox random) {
    float kept = (float) (1 / (1 - probability));
    long threshold = (long) (probability * 0x1.0p32); // of 2^32 equally likely numbers
    float[] mask = new float[size];
    int[] block = new int[4];
    for (int i = 0; i < size; i++) {
      if ((i & 3) == 0) {
        random.block(i >>> 2, block);
      }
      mask[i] = (block[i & 3] & 0xFFFFFFFFL) < threshold ? 0 : kept;
    }
    return mask;
  }
}
