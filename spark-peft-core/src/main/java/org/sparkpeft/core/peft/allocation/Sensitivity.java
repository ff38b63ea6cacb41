package org.sparkpeft.core.peft.allocation;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * SPT's allocation (He et al. 2023, arXiv 2303.08566, algorithm 1): of all weights the most
 * sensitive are picked; a matrix with many of them gets a structured module instead, a vector with
 * many is trained in full.
 */
final class Sensitivity {
  /** The sweep's grid: {@code budget / 50 ... 79 budget / 50}, 0.02M to 1.58M at a budget of 1M. */
  private static final int GRID = 50;

  private static final int CANDIDATES = 79;

  /**
   * A tensor that may be trained.
   *
   * @param scores sum of squared gradients of each entry
   * @param whole parameters trained when it has many sensitive entries
   * @param ratio it has many when they number at least {@code whole / ratio}
   */
  record Tensor(float[] scores, int whole, double ratio) {
    boolean many(int selected) {
      return selected * ratio >= whole;
    }
  }

  /**
   * What one tensor gets.
   *
   * @param whole whether the structured module, or the whole vector
   * @param entries else the single entries, most sensitive first
   */
  record Share(boolean whole, int[] entries) {}

  private final List<Tensor> tensors;

  /** Places of entries above zero, most sensitive first, of equals the first. */
  private final long[] ranked;

  private final int[] starts;

  Sensitivity(List<Tensor> tensors) {
    this.tensors = tensors;
    this.starts = new int[tensors.size() + 1];
    for (int t = 0; t < tensors.size(); t++) {
      starts[t + 1] = Math.addExact(starts[t], tensors.get(t).scores().length);
    }
    long[] keys = new long[starts[tensors.size()]];
    int positive = 0;
    for (int t = 0; t < tensors.size(); t++) {
      float[] scores = tensors.get(t).scores();
      for (int i = 0; i < scores.length; i++) {
        if (scores[i] > 0) { // the bits of positive floats are ordered as they are
          long falling = (long) Integer.MAX_VALUE - Float.floatToIntBits(scores[i]);
          keys[positive++] = falling << 32 | (starts[t] + i);
        }
      }
    }
    Arrays.sort(keys, 0, positive);
    this.ranked = Arrays.copyOf(keys, positive);
  }

  private int place(int rank) {
    return (int) (ranked[rank] & 0x7FFFFFFF);
  }

  private int tensorOf(int place) {
    int found = Arrays.binarySearch(starts, place);
    int tensor = found >= 0 ? found : -found - 2;
    while (starts[tensor + 1] == place) { // tensors without entries
      tensor++;
    }
    return tensor;
  }

  /** What the {@code selected} most sensitive entries come to. */
  List<Share> allocate(int selected) {
    List<List<Integer>> entries = new ArrayList<>();
    tensors.forEach(tensor -> entries.add(new ArrayList<>()));
    for (int rank = 0; rank < Math.min(selected, ranked.length); rank++) {
      int tensor = tensorOf(place(rank));
      entries.get(tensor).add(place(rank) - starts[tensor]);
    }
    List<Share> shares = new ArrayList<>();
    for (int t = 0; t < tensors.size(); t++) {
      List<Integer> own = entries.get(t);
      boolean whole = !own.isEmpty() && tensors.get(t).many(own.size());
      int[] single = whole ? new int[0] : own.stream().mapToInt(Integer::intValue).toArray();
      shares.add(new Share(whole, single));
    }
    return shares;
  }

  /** Parameters of the allocation that the most sensitive entries come to. */
  long[] parameters(int[] selections) {
    long[] parameters = new long[selections.length];
    int[] counts = new int[tensors.size()];
    int rank = 0;
    for (int s = 0; s < selections.length; s++) {
      for (; rank < Math.min(selections[s], ranked.length); rank++) {
        counts[tensorOf(place(rank))]++;
      }
      for (int t = 0; t < counts.length; t++) {
        boolean whole = counts[t] > 0 && tensors.get(t).many(counts[t]);
        parameters[s] += whole ? tensors.get(t).whole() : counts[t];
      }
    }
    return parameters;
  }

  /** The allocation of the sweep whose parameters come closest to the budget. */
  List<Share> within(long budget) {
    int[] selections = new int[CANDIDATES];
    for (int i = 0; i < CANDIDATES; i++) {
      long selected = ((i + 1) * budget + GRID - 1) / GRID;
      selections[i] = (int) Math.min(selected, ranked.length);
    }
    long[] parameters = parameters(selections);
    int best = 0;
    for (int i = 1; i < CANDIDATES; i++) {
      if (Math.abs(parameters[i] - budget) < Math.abs(parameters[best] - budget)) {
        best = i;
      }
    }
    return allocate(selections[best]);
  }
}
