package org.sparkpeft.merge.spark;

import java.io.Serializable;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
import org.sparkpeft.core.io.DType;
import org.sparkpeft.core.io.StoredTensor;
import org.sparkpeft.merge.method.BlockwiseMethod;
import org.sparkpeft.merge.method.Share;

/**
 * One tensor of the result and where it comes from.
 *
 * @param name its name
 * @param shape its dimensions
 * @param dtype type it is written in
 * @param sources the same tensor of each model
 * @param base what is subtracted from each and added to the result; null for none
 * @param method how they are merged; null copies the one source as it is
 * @param shares one for each source
 * @param evidence what comes with each source for the method to weigh it by: its Fisher information
 *     or Gram matrix; else empty
 */
public record MergedTensor(
    String name,
    List<Integer> shape,
    DType dtype,
    List<StoredTensor> sources,
    @Nullable StoredTensor base,
    @Nullable BlockwiseMethod method,
    List<Share> shares,
    List<StoredTensor> evidence)
    implements Serializable {
  public MergedTensor {
    shape = List.copyOf(shape);
    sources = List.copyOf(sources);
    shares = List.copyOf(shares);
    evidence = List.copyOf(evidence);
    if (sources.isEmpty()
        || (method == null && sources.size() != 1)
        || (method != null && shares.size() != sources.size())
        || (!evidence.isEmpty() && evidence.size() != sources.size())) {
      throw new IllegalArgumentException(
          name + " has " + sources.size() + " sources and " + shares.size() + " shares");
    }
  }

  /** Without evidence. */
  public MergedTensor(
      String name,
      List<Integer> shape,
      DType dtype,
      List<StoredTensor> sources,
      @Nullable StoredTensor base,
      @Nullable BlockwiseMethod method,
      List<Share> shares) {
    this(name, shape, dtype, sources, base, method, shares, List.of());
  }

  /** A tensor that is taken over. */
  public static MergedTensor copy(String name, StoredTensor source, DType dtype) {
    return new MergedTensor(name, source.shape(), dtype, List.of(source), null, null, List.of());
  }

  /** The same with its sources in another order, or with some of them. */
  MergedTensor ordered(int... order) {
    List<StoredTensor> chosen = new ArrayList<>();
    List<Share> theirs = new ArrayList<>();
    List<StoredTensor> known = new ArrayList<>();
    for (int t : order) {
      chosen.add(sources.get(t));
      theirs.add(shares.get(t));
      if (!evidence.isEmpty()) {
        known.add(evidence.get(t));
      }
    }
    return new MergedTensor(name, shape, dtype, chosen, base, method, theirs, known);
  }

  /** The same, merged by another method. */
  MergedTensor by(BlockwiseMethod other) {
    return new MergedTensor(name, shape, dtype, sources, base, other, shares, evidence);
  }

  /** Whether each entry of each source comes with a number. */
  boolean weighsEntries() {
    return method != null && method.weighsEntries();
  }

  /** The same with one of its sources. */
  MergedTensor only(int source) {
    return ordered(source);
  }

  /** Everything it is made of: its sources, what came with them and, if there is one, the base. */
  List<StoredTensor> inputs() {
    List<StoredTensor> inputs = new ArrayList<>(sources);
    inputs.addAll(evidence);
    if (base != null) {
      inputs.add(base);
    }
    return inputs;
  }

  /** Whether sources and base are stored as BF16, and nothing comes with their entries. */
  boolean isAllBf16() {
    for (StoredTensor source : sources) {
      if (source.dtype() != DType.BF16) {
        return false;
      }
    }
    return evidence.isEmpty() && (base == null || base.dtype() == DType.BF16);
  }

  /** Number of entries. */
  public long elements() {
    return sources.get(0).elements();
  }

  /** Bytes of the result. */
  public long bytes() {
    return elements() * dtype.bytes();
  }

  /** Length of the last dimension; 1 for a scalar. */
  int columns() {
    return shape.isEmpty() ? 1 : Math.max(1, shape.get(shape.size() - 1));
  }
}
