package org.sparkpeft.merge.recipe;

import java.util.List;
import java.util.Optional;

/** A number of a merge that may differ from layer to layer or from tensor to tensor. */
public sealed interface MergeValue {
  /**
   * The number for one tensor; empty if nothing here is about it.
   *
   * @param tensor its name
   * @param depth where its layer is: 0 the first, 1 the last
   */
  Optional<Double> at(String tensor, double depth);

  /** Always the same. */
  record Constant(double value) implements MergeValue {
    @Override
    public Optional<Double> at(String tensor, double depth) {
      return Optional.of(value);
    }
  }

  /** Values spread evenly over the layers, linear in between. */
  record Gradient(List<Double> values) implements MergeValue {
    public Gradient {
      values = List.copyOf(values);
    }

    @Override
    public Optional<Double> at(String tensor, double depth) {
      double place = depth * (values.size() - 1);
      int low = (int) Math.floor(place);
      int high = Math.min(values.size() - 1, low + 1);
      double share = place - low;
      return Optional.of((1 - share) * values.get(low) + share * values.get(high));
    }
  }

  /** The first case whose filter is part of the tensor's name, or is empty. */
  record Filtered(List<Case> cases) implements MergeValue {
    public Filtered {
      cases = List.copyOf(cases);
    }

    @Override
    public Optional<Double> at(String tensor, double depth) {
      for (Case one : cases) {
        if (one.filter().isEmpty() || tensor.contains(one.filter())) {
          Optional<Double> value = one.value().at(tensor, depth);
          if (value.isPresent()) {
            return value;
          }
        }
      }
      return Optional.empty();
    }
  }

  /**
   * One case.
   *
   * @param filter part of a tensor's name; empty for all
   */
  record Case(String filter, MergeValue value) {}
}
