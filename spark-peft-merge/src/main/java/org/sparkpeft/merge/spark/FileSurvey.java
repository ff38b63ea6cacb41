package org.sparkpeft.merge.spark;

import java.io.Serializable;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeMap;
import java.util.function.LongConsumer;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.io.StoredTensor;
import org.sparkpeft.core.io.TensorReader;
import org.sparkpeft.merge.method.Block;
import org.sparkpeft.merge.method.VectorSurvey;
import org.sparkpeft.merge.storage.Storage;

/**
 * Whole vectors in files. An order statistic takes two passes, whatever the values: one counts the
 * upper halves of their bits, the next the lower halves of those that have the upper half looked
 * for.
 */
final class FileSurvey implements VectorSurvey {
  /** Counts of all groups come back to the driver. */
  private static final int MOST_GROUPS = 32;

  private static final int HALVES = 1 << 16;

  private final List<MergedTensor> tensors;
  private final List<List<Piece>> groups;
  private final long size;
  private final Workers workers;
  private final ReadPlan plan;
  private final LongConsumer progress;

  /**
   * @param tensors those that are merged, in layout order
   */
  FileSurvey(
      List<MergedTensor> tensors,
      Workers workers,
      long pieceEntries,
      ReadPlan plan,
      LongConsumer progress) {
    this.tensors = List.copyOf(tensors);
    this.workers = workers;
    this.plan = plan;
    this.progress = progress;
    List<Piece> pieces = new ArrayList<>();
    long sum = 0;
    for (int i = 0; i < tensors.size(); i++) {
      sum += tensors.get(i).elements();
      pieces.addAll(Piece.cut(i, tensors.get(i).elements(), 1, pieceEntries));
    }
    this.size = sum;
    int most = Math.max(MOST_GROUPS, 2 * workers.parallelism());
    this.groups = Piece.group(pieces, Math.max(pieceEntries, size / most));
  }

  @Override
  public int vectors() {
    return tensors.get(0).sources().size();
  }

  @Override
  public long size() {
    return size;
  }

  @Override
  public float[][] ofRank(Quantity quantity, long[][] ranks) {
    int each = ranks[0].length;
    int[][] upper = new int[ranks.length][];
    long[][] left = new long[ranks.length][each];
    List<TreeMap<Integer, Long>> counts = count(quantity, new int[ranks.length][0]);
    for (int t = 0; t < ranks.length; t++) {
      upper[t] = new int[each];
      for (int r = 0; r < each; r++) {
        upper[t][r] = find(counts.get(t), ranks[t][r], left[t], r);
      }
    }
    counts = count(quantity, upper);
    float[][] found = new float[ranks.length][each];
    long[] rest = new long[1];
    for (int t = 0; t < ranks.length; t++) {
      for (int r = 0; r < each; r++) {
        // Keys of the second pass: which rank's upper half it was, and the lower half.
        int from = first(upper[t], upper[t][r]) * HALVES;
        int lower =
            find(new TreeMap<>(counts.get(t).subMap(from, from + HALVES)), left[t][r], rest, 0);
        found[t][r] = value(upper[t][r] << 16 | (lower - from));
      }
    }
    return found;
  }

  /** The key that holds a rank; {@code left[at]} gets the rank among those of that key. */
  private static int find(TreeMap<Integer, Long> counts, long rank, long[] left, int at) {
    long before = 0;
    for (var entry : counts.entrySet()) {
      if (rank < before + entry.getValue()) {
        left[at] = rank - before;
        return entry.getKey();
      }
      before += entry.getValue();
    }
    throw new DataException("the files changed while being merged; start again");
  }

  private static int first(int[] values, int value) {
    int at = 0;
    while (values[at] != value) {
      at++;
    }
    return at;
  }

  /** A number with the order of the floats, unsigned. */
  private static int key(float value) {
    int bits = Float.floatToRawIntBits(value);
    return bits ^ (bits >> 31 | Integer.MIN_VALUE);
  }

  private static float value(int key) {
    return Float.intBitsToFloat(key < 0 ? key ^ Integer.MIN_VALUE : ~key);
  }

  /**
   * A group of pieces and what to count.
   *
   * @param upper for each vector the upper halves whose lower halves are counted; empty counts
   *     upper halves
   */
  @SuppressWarnings("ArrayRecordComponent") // Travels, is never compared.
  private record CountInput(
      List<MergedTensor> tensors,
      List<Piece> pieces,
      Quantity quantity,
      int[][] upper,
      ReadPlan plan)
      implements Serializable {}

  /** Filled bins of each vector. */
  @SuppressWarnings("ArrayRecordComponent") // Travels, is never compared.
  private record Bins(int[] keys, long[] counts) implements Serializable {
    static Bins of(long[] all) {
      int[] keys =
          java.util.stream.IntStream.range(0, all.length).filter(i -> all[i] > 0).toArray();
      return new Bins(keys, java.util.Arrays.stream(keys).mapToLong(i -> all[i]).toArray());
    }
  }

  private List<TreeMap<Integer, Long>> count(Quantity quantity, int[][] upper) {
    List<CountInput> inputs = new ArrayList<>();
    for (List<Piece> group : groups) {
      GlobalTrim.Selected selected = GlobalTrim.Selected.of(tensors, group);
      inputs.add(new CountInput(selected.tensors(), selected.pieces(), quantity, upper, plan));
    }
    List<TreeMap<Integer, Long>> sums = new ArrayList<>();
    for (int t = 0; t < upper.length; t++) {
      sums.add(new TreeMap<>());
    }
    for (List<Bins> group : workers.run(inputs, FileSurvey::countPieces, progress)) {
      for (int t = 0; t < upper.length; t++) {
        Bins bins = group.get(t);
        for (int i = 0; i < bins.keys.length; i++) {
          sums.get(t).merge(bins.keys[i], bins.counts[i], Long::sum);
        }
      }
    }
    return sums;
  }

  private static List<Bins> countPieces(CountInput input, LongConsumer progress) {
    int vectors = input.upper.length;
    long[][] counts = new long[vectors][];
    for (int t = 0; t < vectors; t++) {
      counts[t] = new long[HALVES * Math.max(1, input.upper[t].length)];
    }
    float[] numbers = new float[Block.USUAL];
    try (VectorReader reader = VectorReader.sequential(vectors, Block.USUAL, input.plan)) {
      for (Piece piece : input.pieces) {
        MergedTensor tensor = input.tensors.get(piece.tensor());
        reader.forEach(
            tensor,
            piece.from(),
            piece.to(),
            Block.USUAL,
            block -> {
              reader.requireFinite(tensor);
              for (int t = 0; t < vectors; t++) {
                input.quantity.of(block, t, numbers);
                add(numbers, block.length(), input.upper[t], counts[t]);
              }
            });
        progress.accept(piece.entries() * tensor.dtype().bytes());
      }
    }
    List<Bins> bins = new ArrayList<>();
    for (long[] all : counts) {
      bins.add(Bins.of(all));
    }
    return bins;
  }

  private static void add(float[] numbers, int n, int[] upper, long[] counts) {
    for (int i = 0; i < n; i++) {
      int key = key(numbers[i]);
      if (upper.length == 0) {
        counts[key >>> 16]++;
        continue;
      }
      for (int r = 0; r < upper.length; r++) {
        if (key >>> 16 == upper[r]) {
          counts[r * HALVES + (key & HALVES - 1)]++;
          break;
        }
      }
    }
  }

  @Override
  public double[] evidenceNorms() {
    // A sum for each tensor, entry by entry: no cut of the work changes it.
    List<double[]> squares = workers.run(new ArrayList<>(tensors), FileSurvey::squares, progress);
    double[] norms = new double[vectors()];
    for (double[] tensor : squares) {
      for (int t = 0; t < norms.length; t++) {
        norms[t] += tensor[t];
      }
    }
    for (int t = 0; t < norms.length; t++) {
      norms[t] = Math.sqrt(norms[t]);
    }
    return norms;
  }

  private static double[] squares(MergedTensor tensor, LongConsumer progress) {
    double[] sums = new double[tensor.evidence().size()];
    float[] values = new float[Block.USUAL];
    for (int t = 0; t < sums.length; t++) {
      StoredTensor evidence = tensor.evidence().get(t);
      try (TensorReader reader = new TensorReader(Storage.ANY, Block.USUAL, 1 << 16)) {
        for (long at = 0; at < evidence.elements(); at += Block.USUAL) {
          int n = (int) Math.min(Block.USUAL, evidence.elements() - at);
          reader.read(evidence, at, n, values);
          for (int i = 0; i < n; i++) {
            requireInformation(evidence, at + i, values[i]);
            sums[t] += (double) values[i] * values[i];
          }
        }
      }
    }
    progress.accept(tensor.bytes());
    return sums;
  }

  private static void requireInformation(StoredTensor evidence, long at, float value) {
    if (!(value >= 0 && value < Float.POSITIVE_INFINITY)) {
      throw new DataException(
          evidence.file()
              + ": entry "
              + at
              + " of "
              + evidence.name()
              + " is "
              + value
              + "; Fisher information is a mean of squares, finite and not negative");
    }
  }
}
