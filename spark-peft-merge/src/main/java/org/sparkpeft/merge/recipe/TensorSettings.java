package org.sparkpeft.merge.recipe;

import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.sparkpeft.merge.method.Share;

/** The numbers of a recipe where one tensor is concerned. */
final class TensorSettings {
  private final MergeRecipe recipe;
  private final MergeKind kind;
  private final String tensor;
  private final double depth;
  private final Map<String, MergeValue> particular;

  /**
   * @param depth where its layer is, 0..1
   * @param particular what a slice sets, more particular than the recipe
   */
  TensorSettings(
      MergeRecipe recipe,
      MergeKind kind,
      String tensor,
      double depth,
      Map<String, MergeValue> particular) {
    this.recipe = recipe;
    this.kind = kind;
    this.tensor = tensor;
    this.depth = depth;
    this.particular = particular;
  }

  boolean on(String key) {
    return value(key) != 0;
  }

  double value(String key) {
    return value(key, Map.of());
  }

  private double value(String key, Map<String, MergeValue> own) {
    for (Map<String, MergeValue> level : List.of(own, particular, recipe.parameters())) {
      Optional<Double> value =
          Optional.ofNullable(level.get(key)).flatMap(v -> v.at(tensor, depth));
      if (value.isPresent()) {
        return value.get();
      }
    }
    return kind.absent(key, recipe.mergekit());
  }

  /**
   * What a model contributes.
   *
   * @param index its place among {@code count} models
   */
  Share share(MergeRecipe.Model model, int index, int count) {
    Map<String, MergeValue> own = model.parameters();
    if (kind == MergeKind.SLERP) {
      double t = value("t");
      return Share.of(index == 0 ? 1 - t : t);
    }
    if (kind == MergeKind.EMA) {
      return Share.of(emaWeight(value("decay"), index, count));
    }
    double density = kind.parameters().contains("density") ? value("density", own) : 1;
    return new Share(
        value("weight", own),
        density,
        kind.parameters().contains("gamma") ? value("gamma", own) : 0,
        kind.parameters().contains("epsilon") ? value("epsilon", own) : 0);
  }

  /** Weight of a model in an exponential moving average that starts at the first. */
  private static double emaWeight(double decay, int index, int count) {
    if (!(decay >= 0 && decay < 1)) {
      throw new IllegalArgumentException("decay must be in [0, 1), got " + decay);
    }
    return (index == 0 ? 1 : 1 - decay) * Math.pow(decay, count - 1 - index);
  }
}
