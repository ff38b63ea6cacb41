package org.sparkpeft.merge.compress;

import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterLayout;

/** The first step of a codec: which entries of an update are kept, and with which value. */
public interface Sparsifier {
  /**
   * Chooses what to keep.
   *
   * @param values the whole flat vector; finite; not to be changed
   * @param layout its tensors
   * @param random numbers for this update, addressed by position in the vector
   */
  Sparse sparsify(float[] values, ParameterLayout layout, Philox random);
}
