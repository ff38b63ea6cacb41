package org.sparkpeft.merge.method;

import java.io.Serializable;
import java.util.ArrayList;
import java.util.List;
import org.sparkpeft.core.vector.TaskVector;

/**
 * A merge method that works tensor by tensor and block by block, so on vectors of any size. What it
 * needs from beyond a block it learns first: {@link #trimsGlobally} from all tensors, {@link #plan}
 * from one tensor.
 *
 * <p>Sums over vectors are taken in one order, that of {@link VectorOrder}, where a method treats
 * its vectors alike.
 */
public interface BlockwiseMethod extends MergeMethod, Serializable {
  /** What a vector with this weight has, unless told otherwise. */
  Share share(double weight);

  /** Whether each vector is trimmed to its density over all tensors before anything else. */
  default boolean trimsGlobally() {
    return false;
  }

  /** Whether the order of vectors means something, as it does for an interpolation. */
  default boolean ordered() {
    return false;
  }

  /** Whether it draws random numbers, and so needs {@link TensorScan#identity}. */
  default boolean draws() {
    return false;
  }

  /** Whether every entry of every vector comes with a number of its own: {@link Block#evidence}. */
  default boolean weighsEntries() {
    return false;
  }

  /**
   * Bytes a plan takes while it is at work on a tensor, beyond blocks.
   *
   * @param columns length of a row
   * @param vectors number of vectors
   */
  default long workingBytes(int columns, int vectors) {
    return 0;
  }

  /**
   * Refuses what the method cannot take.
   *
   * @throws IllegalArgumentException saying what is wrong
   */
  default void check(List<Share> shares) {}

  /**
   * Plans one tensor.
   *
   * @param tensor reads the tensor, as often as needed
   * @param shares one for each vector
   * @param trims with {@link #trimsGlobally}, what trimming leaves of each vector here; else empty
   */
  TensorPlan plan(TensorScan tensor, List<Share> shares, List<KeepRule> trims);

  @Override
  default TaskVector merge(List<TaskVector> vectors, List<Double> weights) {
    List<Share> shares = new ArrayList<>();
    weights.forEach(weight -> shares.add(share(weight)));
    return new InMemoryMerge(this, vectors, shares, Block.USUAL).run();
  }
}
