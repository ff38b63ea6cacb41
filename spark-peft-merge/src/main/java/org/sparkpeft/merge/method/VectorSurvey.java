package org.sparkpeft.merge.method;

import java.io.Serializable;

/** All vectors of a merge as wholes, to be asked what spans tensors. */
public interface VectorSurvey {
  /** A number for each entry of a vector. */
  interface Quantity extends Serializable {
    /** Writes the numbers of {@code vector} at a block's entries; none is NaN. */
    void of(Block block, int vector, float[] out);
  }

  /** Number of vectors. */
  int vectors();

  /** Number of entries of a vector. */
  long size();

  /**
   * Exact order statistics of a quantity.
   *
   * @param ranks for each vector the same number of ranks, from 0, in ascending order of values
   * @return the values with those ranks
   */
  float[][] ofRank(Quantity quantity, long[][] ranks);

  /**
   * Euclidean norm of each vector's evidence.
   *
   * @throws org.sparkpeft.core.error.DataException if an entry is negative or not finite
   */
  double[] evidenceNorms();
}
