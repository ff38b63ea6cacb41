package org.sparkpeft.merge.spark;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Objects;
import java.util.stream.IntStream;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.merge.method.Block;
import org.sparkpeft.merge.method.BlockwiseMethod;
import org.sparkpeft.merge.method.SurveyedMethod;
import org.sparkpeft.merge.method.VectorOrder;

/** Puts tensors and their sources in the order in which a merge takes them. */
final class MergeOrder {
  private MergeOrder() {}

  /**
   * The tensors that are merged, in layout order, their sources in merging order: by their values
   * where the order of models is to change no bit.
   */
  static List<MergedTensor> of(List<MergedTensor> tensors) {
    List<MergedTensor> merged = new ArrayList<>();
    for (MergedTensor tensor : tensors) {
      if (tensor.method() != null && tensor.elements() > 0) {
        merged.add(tensor);
      }
    }
    merged.sort((a, b) -> ParameterLayout.UTF8_ORDER.compare(a.name(), b.name()));
    if (merged.isEmpty()) {
      return merged;
    }
    BlockwiseMethod method = requireAlike(merged);
    if (merged.get(0).sources().size() > 1 && !method.ordered()) {
      int[] order = byValues(merged);
      merged.replaceAll(tensor -> tensor.ordered(order));
    }
    return merged;
  }

  private static BlockwiseMethod requireAlike(List<MergedTensor> merged) {
    BlockwiseMethod method = Objects.requireNonNull(merged.get(0).method());
    for (MergedTensor tensor : merged) {
      BlockwiseMethod other = Objects.requireNonNull(tensor.method());
      if (tensor.sources().size() != merged.get(0).sources().size()
          || other.trimsGlobally() != method.trimsGlobally()
          || other.ordered() != method.ordered()
          || other instanceof SurveyedMethod != method instanceof SurveyedMethod) {
        throw new IllegalArgumentException(
            "all tensors must come from as many models by one kind of method; "
                + tensor.name()
                + " does not");
      }
      method.check(tensor.shares());
    }
    return method;
  }

  private static int[] byValues(List<MergedTensor> merged) {
    MergedTensor first = merged.get(0);
    Comparator<Integer> comparator =
        (a, b) -> {
          int byValues = compareValues(merged, a, b);
          return byValues != 0
              ? byValues
              : VectorOrder.compare(first.shares().get(a), first.shares().get(b));
        };
    return IntStream.range(0, first.sources().size())
        .boxed()
        .sorted(comparator)
        .mapToInt(Integer::intValue)
        .toArray();
  }

  /** Usually decided within the first block. */
  private static int compareValues(List<MergedTensor> merged, int a, int b) {
    try (VectorReader reader = VectorReader.scattered(2, Block.USUAL)) {
      for (MergedTensor tensor : merged) {
        MergedTensor pair = tensor.ordered(a, b);
        for (long at = 0; at < tensor.elements(); at += Block.USUAL) {
          int n = (int) Math.min(Block.USUAL, tensor.elements() - at);
          Block block = reader.read(pair, at, n);
          int order = VectorOrder.compare(block.values(0), block.values(1), n);
          if (order != 0) {
            return order;
          }
        }
      }
    }
    return 0;
  }
}
