package org.sparkpeft.merge.spark;

import java.io.Serializable;
import java.util.List;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.io.StoredTensor;
import org.sparkpeft.merge.method.Block;
import org.sparkpeft.merge.storage.Storage;

/**
 * How inputs are read, within the memory allowed.
 *
 * @param remote whether any of them is on another machine, where each request costs milliseconds
 * @param aheadBytes bytes of each model fetched at once
 */
record ReadPlan(boolean remote, int aheadBytes) implements Serializable {
  /** With three models and a base the buffers fit a cache. */
  static final ReadPlan LOCAL = new ReadPlan(false, 1 << 16);

  private static final int MOST_AHEAD = 8 << 20;

  /**
   * A plan for these tensors.
   *
   * @param threads how many read at once
   * @throws DataException if the memory does not hold what a block of each model needs
   */
  static ReadPlan of(List<MergedTensor> tensors, int threads, long memoryBytes) {
    long blocks = 0;
    int models = 0;
    String where = "";
    boolean remote = false;
    for (MergedTensor tensor : tensors) {
      // Only methods that need whole rows have blocks as long as those; they are few.
      long entries = Math.max(Block.USUAL, tensor.columns());
      // Bytes, floats and sums of a block for each vector.
      long need = entries * (40L * tensor.sources().size() + 80);
      if (tensor.method() != null) {
        need += tensor.method().workingBytes(tensor.columns(), tensor.sources().size());
      }
      if (need > blocks) {
        blocks = need;
        where = tensor.name();
      }
      models = Math.max(models, tensor.inputs().size());
      remote |= tensor.inputs().stream().map(StoredTensor::file).anyMatch(Storage::isRemote);
    }
    if (blocks * threads > memoryBytes) {
      throw new DataException(
          "merging "
              + where
              + " needs "
              + blocks * threads
              + " bytes in memory on "
              + threads
              + " threads, "
              + memoryBytes
              + " are allowed; allow more, or use fewer threads");
    }
    if (!remote) {
      return LOCAL;
    }
    long left = (memoryBytes / threads - blocks) / models;
    return new ReadPlan(true, (int) Math.max(LOCAL.aheadBytes, Math.min(MOST_AHEAD, left)));
  }
}
