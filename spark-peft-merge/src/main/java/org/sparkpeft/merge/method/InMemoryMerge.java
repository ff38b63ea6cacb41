package org.sparkpeft.merge.method;

import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import java.util.stream.IntStream;
import org.sparkpeft.core.vector.FiniteCheck;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.TaskVector;

/** Runs a blockwise method on vectors in memory, on the caller's thread. */
final class InMemoryMerge {
  private final BlockwiseMethod method;
  private final ParameterLayout layout;
  private final List<FloatBuffer> vectors = new ArrayList<>();
  private final List<Share> shares = new ArrayList<>();
  private final long[] identities;
  private final int blockEntries;

  /**
   * @param shares one for each vector
   * @param blockEntries entries of a block, as far as rows allow; changes no bit of the result
   * @throws IllegalArgumentException if layouts differ or the counts do
   */
  InMemoryMerge(
      BlockwiseMethod method, List<TaskVector> given, List<Share> shares, int blockEntries) {
    if (given.isEmpty() || given.size() != shares.size()) {
      throw new IllegalArgumentException(
          "a merge needs at least one vector and a weight for each, got "
              + given.size()
              + " vectors and "
              + shares.size()
              + " weights");
    }
    this.method = method;
    this.layout = given.get(0).layout();
    this.blockEntries = blockEntries;
    for (int t = 0; t < given.size(); t++) {
      if (!given.get(t).layout().equals(layout)) {
        throw new IllegalArgumentException(
            "vector " + t + " has " + given.get(t).layout() + ", the first has " + layout);
      }
    }
    method.check(shares);
    for (int t : order(given, shares)) {
      vectors.add(given.get(t).view());
      this.shares.add(shares.get(t));
    }
    this.identities = vectors.stream().mapToLong(this::identity).toArray();
  }

  private int[] order(List<TaskVector> given, List<Share> given2) {
    List<FloatBuffer> views = given.stream().map(TaskVector::view).toList();
    IntStream indices = IntStream.range(0, given.size());
    if (method.ordered()) {
      return indices.toArray();
    }
    return indices
        .boxed()
        .sorted(
            (a, b) -> {
              int at = views.get(a).mismatch(views.get(b));
              return at < 0
                  ? VectorOrder.compare(given2.get(a), given2.get(b))
                  : Float.compare(views.get(a).get(at), views.get(b).get(at));
            })
        .mapToInt(Integer::intValue)
        .toArray();
  }

  private long identity(FloatBuffer vector) {
    VectorIdentity identity = new VectorIdentity();
    for (ParameterLayout.Entry entry : layout.entries()) {
      List<Float> values = new ArrayList<>();
      for (long position : VectorIdentity.positions(entry.size())) {
        values.add(vector.get(entry.offset() + (int) position));
      }
      identity.add(values);
    }
    return identity.value();
  }

  TaskVector run() {
    List<KeepRule> trims = method.trimsGlobally() ? globalTrims() : List.of();
    float[] merged = new float[layout.size()];
    for (ParameterLayout.Entry entry : layout.entries()) {
      Scan scan = new Scan(entry.name(), entry.offset(), entry.size(), columns(entry));
      List<KeepRule> here = trims.stream().map(rule -> rule.from(entry.offset())).toList();
      TensorPlan plan = method.plan(scan, shares, here);
      float[] out = new float[scan.capacity(plan.wholeRows()) + 1];
      scan.forEachBlock(
          plan.wholeRows(),
          block -> {
            requireFinite(block, entry, out);
            plan.merge(block, out);
            System.arraycopy(out, 0, merged, entry.offset() + (int) block.from(), block.length());
          });
    }
    return TaskVector.wrap(layout, merged);
  }

  private List<KeepRule> globalTrims() {
    long[] counts =
        shares.stream()
            .mapToLong(share -> MagnitudeSearch.keptCount(share.density(), layout.size()))
            .toArray();
    return Selections.within(new Scan("all tensors", 0, layout.size(), 1), counts);
  }

  private static void requireFinite(Block block, ParameterLayout.Entry entry, float[] out) {
    int t = block.firstNotFinite();
    if (t < 0) {
      return;
    }
    int at = FiniteCheck.firstBad(block.values(t), block.length(), out);
    throw new IllegalArgumentException(
        "a vector is not finite: entry "
            + (block.from() + at)
            + " of "
            + entry.name()
            + " is "
            + block.values(t)[at]);
  }

  private static int columns(ParameterLayout.Entry entry) {
    List<Integer> shape = entry.shape();
    return shape.isEmpty() ? 1 : shape.get(shape.size() - 1);
  }

  /** A stretch of all vectors. */
  private final class Scan implements TensorScan {
    private final String name;
    private final int offset;
    private final int size;
    private final int columns;

    Scan(String name, int offset, int size, int columns) {
      this.name = name;
      this.offset = offset;
      this.size = size;
      this.columns = columns;
    }

    @Override
    public String name() {
      return name;
    }

    @Override
    public long size() {
      return size;
    }

    @Override
    public int columns() {
      return columns;
    }

    @Override
    public int vectors() {
      return vectors.size();
    }

    @Override
    public long identity(int vector) {
      return identities[vector];
    }

    int capacity(boolean wholeRows) {
      int rows = wholeRows ? Math.max(1, blockEntries / columns) * columns : blockEntries;
      return Math.max(1, Math.min(size, rows));
    }

    @Override
    public void forEachBlock(boolean wholeRows, Consumer<Block> visitor) {
      int step = capacity(wholeRows);
      Block block = new Block(vectors.size(), step);
      for (int from = 0; from < size; from += step) {
        int n = Math.min(step, size - from);
        for (int t = 0; t < vectors.size(); t++) {
          vectors.get(t).get(offset + from, block.values(t), 0, n);
        }
        visitor.accept(block.at(from, n));
      }
    }
  }
}
