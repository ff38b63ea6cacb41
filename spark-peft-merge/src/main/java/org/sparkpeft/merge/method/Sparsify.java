package org.sparkpeft.merge.method;

import java.util.Arrays;
import java.util.List;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.TaskVector;
import org.sparkpeft.merge.compress.TopKSelection;

/** First step of many merges: set entries to zero. Each function returns a new vector. */
public final class Sparsify {
  private Sparsify() {}

  /**
   * Keeps the largest magnitudes of the whole vector: exactly floor(density d), at least 1, ties by
   * lower index (see {@link TopKSelection}). The trim step of TIES.
   */
  public static TaskVector trim(TaskVector vector, double density) {
    float[] values = vector.toArray();
    return TaskVector.wrap(vector.layout(), trim(values, 0, values.length, density, values));
  }

  /** The same within each tensor: what Hugging Face PEFT and mergekit call trimming. */
  public static TaskVector trimPerTensor(TaskVector vector, double density) {
    float[] values = vector.toArray();
    float[] kept = values.clone();
    for (ParameterLayout.Entry entry : vector.layout().entries()) {
      trim(values, entry.offset(), entry.end(), density, kept);
    }
    return TaskVector.wrap(vector.layout(), kept);
  }

  /** Trims {@code from[start..end)} into the same range of {@code into}, which may be the same. */
  private static float[] trim(float[] from, int start, int end, double density, float[] into) {
    int k = TopKSelection.keptCount(density, end - start);
    int[] kept = TopKSelection.indices(from, start, end, k);
    float[] values = new float[kept.length];
    for (int i = 0; i < kept.length; i++) {
      values[i] = from[kept[i]];
    }
    Arrays.fill(into, start, end, 0);
    for (int i = 0; i < kept.length; i++) {
      into[kept[i]] = values[i];
    }
    return into;
  }

  /** The rules by which each vector of a tensor is trimmed to its density. */
  static List<KeepRule> rules(TensorScan tensor, List<Share> shares) {
    long[] counts =
        shares.stream()
            .mapToLong(share -> MagnitudeSearch.keptCount(share.density(), tensor.size()))
            .toArray();
    return Selections.within(tensor, counts);
  }

  /**
   * The trim of the released TIES and ComPEFT code: keeps every magnitude that is at least the (d -
   * floor(density d))-th smallest, so one more than {@link #trim} and all that tie with it. At a
   * density of 1 it keeps everything. For comparing with published results.
   */
  public static TaskVector trimAtThreshold(TaskVector vector, double density) {
    float[] values = vector.toArray();
    int drop = values.length - (int) Math.floor(density * values.length + 1e-9);
    if (drop <= 0) {
      return vector;
    }
    float[] magnitudes = new float[values.length];
    for (int i = 0; i < values.length; i++) {
      magnitudes[i] = Math.abs(values[i]);
    }
    Arrays.sort(magnitudes);
    float threshold = magnitudes[drop - 1];
    for (int i = 0; i < values.length; i++) {
      if (Math.abs(values[i]) < threshold) {
        values[i] = 0;
      }
    }
    return TaskVector.wrap(vector.layout(), values);
  }
}
