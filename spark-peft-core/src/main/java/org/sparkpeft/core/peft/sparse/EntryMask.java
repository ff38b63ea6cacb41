package org.sparkpeft.core.peft.sparse;

import java.util.ArrayList;
import java.util.BitSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.SortedMap;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.io.DType;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.peft.AdapterTensors;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.StepObserver;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * Which entries of dense differences are still trained, by tensor; the others are zero and stay so.
 * A state holds the masks as indices, and how many times they were chosen. A file holds the chosen
 * entries alone: {@code <module>.sparse_values} and {@code <module>.sparse_indices} (int32,
 * row-major, ascending), or {@code sparse_bias_...}.
 *
 * @param chosen how many times entries were chosen; before the first, all are trained
 * @param masks entries of each tensor by the difference's name
 */
record EntryMask(int chosen, Map<String, BitSet> masks) {
  private static final String CHOSEN = "mask.chosen";
  private static final String INDICES = ".mask";

  static final EntryMask ALL = new EntryMask(0, Map.of());

  static EntryMask of(MethodState state) {
    Map<String, BitSet> masks = new LinkedHashMap<>();
    for (String name : state.tensors().keySet()) {
      if (name.endsWith(INDICES)) {
        BitSet mask = new BitSet();
        for (int index : state.integers(name)) {
          mask.set(index);
        }
        masks.put(name.substring(0, name.length() - INDICES.length()), mask);
      }
    }
    return new EntryMask(state.integers(CHOSEN)[0], masks);
  }

  MethodState state() {
    MethodState.Builder state = new MethodState.Builder();
    state.integers(CHOSEN, List.of(1), new int[] {chosen});
    masks.forEach(
        (name, mask) -> {
          int[] indices = mask.stream().toArray();
          if (indices.length > 0) {
            state.integers(name + INDICES, List.of(indices.length), indices);
          }
        });
    return state.build();
  }

  boolean everything() {
    return chosen == 0;
  }

  /** Entries of one tensor that are trained. */
  BitSet mask(String name) {
    return Optional.ofNullable(masks.get(name)).orElse(new BitSet());
  }

  /** Sets to zero what is not trained, in flat parameters or a gradient. */
  void apply(Set<String> names, ParameterLayout layout, float[] flat) {
    if (everything()) {
      return;
    }
    for (String name : names) {
      ParameterLayout.Entry entry = layout.entry(name);
      BitSet mask = mask(name);
      for (int i = mask.nextClearBit(0); i < entry.size(); i = mask.nextClearBit(i + 1)) {
        flat[entry.offset() + i] = 0;
      }
    }
  }

  /** Starts the optimiser's memory anew everywhere, or only for entries that are not trained. */
  void restart(Set<String> names, StepObserver.Update update, boolean everywhere) {
    for (String name : names) {
      ParameterLayout.Entry entry = update.layout().entry(name);
      BitSet mask = mask(name);
      for (int i = 0; i < entry.size(); i++) {
        if (everywhere || !mask.get(i)) {
          update.moments().restart(entry.offset() + i, 0, 0, 0);
        }
      }
    }
  }

  /** The entries with the largest scores of all tensors together. */
  EntryMask largestOfAll(Map<String, float[]> scores, int count) {
    int all = scores.values().stream().mapToInt(s -> s.length).reduce(0, Math::addExact);
    float[] joined = new float[all];
    int from = 0;
    for (float[] own : scores.values()) {
      System.arraycopy(own, 0, joined, from, own.length);
      from += own.length;
    }
    BitSet best = bits(EntrySelection.largest(joined, count));
    Map<String, BitSet> next = new LinkedHashMap<>();
    from = 0;
    for (Map.Entry<String, float[]> own : scores.entrySet()) {
      int length = own.getValue().length;
      next.put(own.getKey(), best.get(from, from + length));
      from += length;
    }
    return new EntryMask(chosen + 1, next);
  }

  /** The share of each tensor with the largest scores among what is trained now. */
  EntryMask largestOfEach(Map<String, float[]> scores, double share) {
    Map<String, BitSet> next = new LinkedHashMap<>();
    scores.forEach(
        (name, own) -> {
          BitSet out = new BitSet();
          if (!everything()) {
            out.set(0, own.length);
            out.andNot(mask(name));
          }
          int count = (int) Math.max(1, Math.floor(share * own.length + 1e-9));
          next.put(name, bits(EntrySelection.largest(own, count, out)));
        });
    return new EntryMask(chosen + 1, next);
  }

  private static BitSet bits(int[] indices) {
    BitSet bits = new BitSet();
    for (int index : indices) {
      bits.set(index);
    }
    return bits;
  }

  private static String file(String name, String what) {
    return AdapterTensors.PREFIX
        + name.replaceFirst("\\.diff_b$", ".sparse_bias_").replaceFirst("\\.diff$", ".sparse_")
        + what;
  }

  /** Writes what is trained; where that is everything, what is not zero. */
  SortedMap<String, TensorData> save(Set<String> names, ParameterVector parameters) {
    List<TensorData> file = new ArrayList<>();
    for (String name : names) {
      float[] values = parameters.tensor(name);
      BitSet kept = (BitSet) mask(name).clone();
      for (int i = 0; i < values.length && everything(); i++) {
        kept.set(i, values[i] != 0);
      }
      int[] indices = kept.stream().toArray();
      if (indices.length > 0) {
        float[] chosenValues = new float[indices.length];
        long[] places = new long[indices.length];
        for (int i = 0; i < indices.length; i++) {
          chosenValues[i] = values[indices[i]];
          places[i] = indices[i];
        }
        List<Integer> shape = List.of(indices.length);
        file.add(TensorData.ofFloats(file(name, "values"), shape, chosenValues));
        file.add(TensorData.ofLongs(file(name, "indices"), shape, places, DType.I32));
      }
    }
    return TensorData.byName(file);
  }

  /**
   * What {@link #save} wrote; only what it holds goes on being trained.
   *
   * @param zeros zeros of every tensor; filled
   */
  static AttachedMethod.Loaded load(AdapterTensors file, Map<String, float[]> zeros) {
    Map<String, BitSet> masks = new LinkedHashMap<>();
    zeros.forEach(
        (name, values) -> {
          String places = file(name, "indices");
          if (file.has(places)) {
            long[] stored = file.take(places).toLongs();
            int[] indices = SparseDelta.ascending(places, stored, values.length);
            float[] own = file.take(file(name, "values"), List.of(indices.length)).toFloats();
            for (int i = 0; i < indices.length; i++) {
              values[indices[i]] = own[i];
            }
            masks.put(name, bits(indices));
          }
        });
    if (masks.isEmpty()) {
      throw new FormatException("adapter", "holds no sparse_indices of this model's layers");
    }
    return new AttachedMethod.Loaded(zeros, new EntryMask(1, masks).state());
  }
}
