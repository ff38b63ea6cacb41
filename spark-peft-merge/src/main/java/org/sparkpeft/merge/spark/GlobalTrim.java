package org.sparkpeft.merge.spark;

import java.io.Serializable;
import java.util.ArrayList;
import java.util.List;
import java.util.function.LongConsumer;
import org.sparkpeft.merge.method.Block;
import org.sparkpeft.merge.method.KeepRule;
import org.sparkpeft.merge.method.MagnitudeCounts;
import org.sparkpeft.merge.method.MagnitudeSearch;
import org.sparkpeft.merge.method.Share;

/**
 * Finds which entries of each whole vector are among its largest, exactly, by counting in parallel:
 * a sample says where to count, and one pass over all counts there. Where entries tie with the last
 * one kept, the counts say in which part the kept ones end, and that part is read again.
 */
final class GlobalTrim {
  /**
   * Runs of consecutive entries, evenly spread, that say where to count.
   *
   * @param length entries of a run
   * @param runs number of runs
   */
  record Sampling(int length, long runs) {
    private static final Sampling USUAL = new Sampling(512, 4096);

    /** As many entries in fewer requests. */
    private static final Sampling REMOTE = new Sampling(8192, 256);

    static Sampling of(ReadPlan plan) {
      return plan.remote() ? REMOTE : USUAL;
    }
  }

  /** Counts of all groups come back to the driver. */
  private static final int MOST_GROUPS = 128;

  private static final String CHANGED = "the files changed while being merged; start again";

  private final List<MergedTensor> tensors;
  private final List<List<Piece>> groups;
  private final long[] offsets;
  private final long size;
  private final Workers workers;
  private final LongConsumer progress;
  private final Sampling sampling;
  private final ReadPlan plan;
  private boolean sawAll;

  /**
   * @param tensors those that are merged, in layout order
   */
  GlobalTrim(
      List<MergedTensor> tensors,
      Workers workers,
      long pieceEntries,
      Sampling sampling,
      ReadPlan plan,
      LongConsumer progress) {
    this.sampling = sampling;
    this.plan = plan;
    this.tensors = tensors;
    this.workers = workers;
    this.progress = progress;
    this.offsets = new long[tensors.size()];
    List<Piece> pieces = new ArrayList<>();
    long sum = 0;
    for (int i = 0; i < offsets.length; i++) {
      offsets[i] = sum;
      sum += tensors.get(i).elements();
      pieces.addAll(Piece.cut(i, tensors.get(i).elements(), 1, pieceEntries));
    }
    this.size = sum;
    int most = Math.max(MOST_GROUPS, 2 * workers.parallelism());
    this.groups = Piece.group(pieces, Math.max(pieceEntries, size / most));
  }

  /** Position of a tensor's first entry in the whole vector. */
  long offset(int tensor) {
    return offsets[tensor];
  }

  /** Whether {@link #rules} looked at all values, which then are finite. */
  boolean sawAll() {
    return sawAll;
  }

  /**
   * A rule for each vector, in positions of the whole vector.
   *
   * @throws org.sparkpeft.core.error.DataException if a value it looks at is NaN or infinite
   */
  List<KeepRule> rules() {
    List<Share> shares = tensors.get(0).shares();
    List<float[]> samples = sample(shares.size());
    List<MagnitudeSearch> searches = new ArrayList<>();
    for (int t = 0; t < shares.size(); t++) {
      double density = shares.get(t).density();
      searches.add(
          new MagnitudeSearch(MagnitudeSearch.keptCount(density, size))
              .startAt(samples.get(t), density));
    }
    List<List<MagnitudeCounts.Part>> parts = new ArrayList<>();
    while (searches.stream().anyMatch(search -> !search.isFound())) {
      parts = count(searches);
      for (int t = 0; t < searches.size(); t++) {
        if (!searches.get(t).isFound()) {
          MagnitudeCounts sum = new MagnitudeCounts(searches.get(t).window());
          for (List<MagnitudeCounts.Part> part : parts) {
            sum.add(part.get(t));
          }
          searches.get(t).narrow(sum);
        }
      }
    }
    List<KeepRule> rules = new ArrayList<>();
    for (int t = 0; t < searches.size(); t++) {
      MagnitudeSearch search = searches.get(t);
      rules.add(search.rule(search.keepsAllTies() ? 0 : end(search, t, parts)));
    }
    return rules;
  }

  /** Short runs from all over the vectors; empty for vectors that are counted in no time. */
  private List<float[]> sample(int vectors) {
    List<float[]> samples = new ArrayList<>();
    long stride = size / sampling.runs();
    int length = stride < 4 * sampling.length() ? 0 : (int) (sampling.runs() * sampling.length());
    for (int t = 0; t < vectors; t++) {
      samples.add(new float[length]);
    }
    if (length == 0) {
      return samples;
    }
    int filled = 0;
    int tensor = 0;
    try (VectorReader reader = VectorReader.scattered(vectors, sampling.length())) {
      for (long run = 0; run < sampling.runs(); run++) {
        long at = run * stride;
        while (tensor + 1 < offsets.length && offsets[tensor + 1] <= at) {
          tensor++;
        }
        long from = at - offsets[tensor];
        int n = (int) Math.min(sampling.length(), tensors.get(tensor).elements() - from);
        Block block = reader.read(tensors.get(tensor), from, n);
        reader.requireFinite(tensors.get(tensor));
        for (int t = 0; t < vectors; t++) {
          System.arraycopy(block.values(t), 0, samples.get(t), filled, n);
        }
        filled += n;
      }
    }
    int count = filled;
    samples.replaceAll(values -> java.util.Arrays.copyOf(values, count));
    return samples;
  }

  /** A group of pieces and what to look for in each vector; windows of found ones are absent. */
  private record CountInput(
      List<MergedTensor> tensors,
      List<Piece> pieces,
      List<MagnitudeCounts.Window> windows,
      ReadPlan plan)
      implements Serializable {}

  /** Counts of each vector in each group. */
  private List<List<MagnitudeCounts.Part>> count(List<MagnitudeSearch> searches) {
    List<MagnitudeCounts.Window> windows = searches.stream().map(MagnitudeSearch::window).toList();
    List<CountInput> inputs = new ArrayList<>();
    for (List<Piece> group : groups) {
      Selected selected = Selected.of(tensors, group);
      inputs.add(new CountInput(selected.tensors(), selected.pieces(), windows, plan));
    }
    List<List<MagnitudeCounts.Part>> parts = workers.run(inputs, GlobalTrim::countPieces, progress);
    sawAll = true;
    return parts;
  }

  private static List<MagnitudeCounts.Part> countPieces(CountInput input, LongConsumer progress) {
    List<MagnitudeCounts> counts = new ArrayList<>();
    input.windows.forEach(window -> counts.add(new MagnitudeCounts(window)));
    try (VectorReader reader = VectorReader.sequential(counts.size(), Block.USUAL, input.plan)) {
      for (Piece piece : input.pieces) {
        MergedTensor tensor = input.tensors.get(piece.tensor());
        for (long at = piece.from(); at < piece.to(); at += Block.USUAL) {
          int n = (int) Math.min(Block.USUAL, piece.to() - at);
          count(reader.readInAnyOrder(tensor, at, n), counts);
        }
        progress.accept(piece.entries() * tensor.dtype().bytes());
      }
    }
    if (!counts.stream().allMatch(MagnitudeCounts::areFinite)) {
      requireFinite(input);
    }
    return new ArrayList<>(counts.stream().map(MagnitudeCounts::part).toList());
  }

  private static void requireFinite(CountInput input) {
    try (VectorReader reader =
        VectorReader.sequential(input.windows.size(), Block.USUAL, input.plan)) {
      for (Piece piece : input.pieces) {
        MergedTensor tensor = input.tensors.get(piece.tensor());
        for (long at = piece.from(); at < piece.to(); at += Block.USUAL) {
          reader.read(tensor, at, (int) Math.min(Block.USUAL, piece.to() - at));
          reader.requireFinite(tensor);
        }
      }
    }
    throw new IllegalStateException(CHANGED);
  }

  private static void count(Block block, List<MagnitudeCounts> counts) {
    for (int t = 0; t < counts.size(); t++) {
      counts.get(t).add(block, t);
    }
  }

  /** Position after the last tie that is kept, found in the group that holds it. */
  private long end(MagnitudeSearch search, int t, List<List<MagnitudeCounts.Part>> parts) {
    long left = search.ties();
    for (int g = 0; g < groups.size(); g++) {
      long here = parts.get(g).get(t).bin(search.bin());
      if (here >= left) {
        return endWithin(groups.get(g), search.key(), t, left);
      }
      left -= here;
    }
    throw new IllegalStateException(CHANGED);
  }

  private long endWithin(List<Piece> group, int key, int t, long ordinal) {
    long left = ordinal;
    try (VectorReader reader = VectorReader.sequential(1, Block.USUAL, plan)) {
      for (Piece piece : group) {
        MergedTensor tensor = tensors.get(piece.tensor()).only(t);
        for (long at = piece.from(); at < piece.to(); at += Block.USUAL) {
          int n = (int) Math.min(Block.USUAL, piece.to() - at);
          float[] values = reader.read(tensor, at, n).values(0);
          int here = MagnitudeSearch.countEqual(values, n, key);
          if (here >= left) {
            return offsets[piece.tensor()] + at + MagnitudeSearch.afterTie(values, n, key, left);
          }
          left -= here;
        }
      }
    }
    throw new IllegalStateException(CHANGED);
  }

  /** Only the tensors that some pieces are of, so that no task gets all of them. */
  record Selected(List<MergedTensor> tensors, List<Piece> pieces) {
    static Selected of(List<MergedTensor> all, List<Piece> pieces) {
      List<MergedTensor> some = new ArrayList<>();
      List<Piece> renumbered = new ArrayList<>();
      int last = -1;
      for (Piece piece : pieces) {
        if (piece.tensor() != last) {
          last = piece.tensor();
          some.add(all.get(last));
        }
        renumbered.add(new Piece(some.size() - 1, piece.from(), piece.to()));
      }
      return new Selected(some, renumbered);
    }
  }
}
