package org.sparkpeft.merge.recipe;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.jspecify.annotations.Nullable;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.io.DType;
import org.sparkpeft.core.io.StoredTensor;
import org.sparkpeft.merge.method.Average;
import org.sparkpeft.merge.method.Combination;
import org.sparkpeft.merge.method.Share;
import org.sparkpeft.merge.spark.MergedTensor;

/** Makes tensors of the result: sources, method and numbers of one at a time. */
final class RecipeTensors {
  private final MergeRecipe recipe;
  private final MergeKind kind;
  private final RecipeModels models;
  private final ModelEvidence evidence;

  RecipeTensors(MergeRecipe recipe, MergeKind kind, RecipeModels models) {
    this.recipe = recipe;
    this.kind = kind;
    this.models = models;
    this.evidence = new ModelEvidence(kind);
  }

  /**
   * Where one tensor comes from.
   *
   * @param name its name in the result
   * @param depth where its layer is in the result, 0..1
   * @param like the tensor of the first model, or of the base
   * @param models what is merged
   * @param originals its name in each of them
   * @param settings what a slice sets
   */
  record Origin(
      String name,
      double depth,
      StoredTensor like,
      List<MergeRecipe.Model> models,
      List<String> originals,
      Map<String, MergeValue> settings) {}

  MergedTensor of(Origin origin) {
    StoredTensor like = origin.like();
    if (!like.dtype().isFloating() || kind == MergeKind.PASSTHROUGH) {
      return MergedTensor.copy(
          origin.name(), like, like.dtype().isFloating() ? dtype(like) : like.dtype());
    }
    TensorSettings settings =
        new TensorSettings(recipe, kind, origin.name(), origin.depth(), origin.settings());
    List<StoredTensor> sources = new ArrayList<>();
    List<Share> shares = new ArrayList<>();
    int count = origin.models().size();
    for (int i = 0; i < count; i++) {
      MergeRecipe.Model model = origin.models().get(i);
      String name = origin.originals().get(i);
      sources.add(Objects.requireNonNull(models.tensors(model.path()).get(name), name));
      shares.add(settings.share(model, i, count));
    }
    if (settings.on("normalize")
        && kind != MergeKind.LINEAR
        && kind != MergeKind.FISHER
        && MethodOfKind.combination(kind) == Combination.LINEAR) {
      shares = normalized(shares);
    }
    List<StoredTensor> theirs = evidence.of(origin.models(), origin.originals(), like);
    return new MergedTensor(
        origin.name(),
        like.shape(),
        dtype(like),
        sources,
        base(origin.originals().get(0)),
        kind == MergeKind.REGMEAN && theirs.isEmpty()
            ? new Average()
            : MethodOfKind.method(kind, settings, recipe.options()),
        shares,
        theirs);
  }

  private @Nullable StoredTensor base(String name) {
    if (!kind.needsBase()) {
      return null;
    }
    StoredTensor base = models.tensors(recipe.base()).get(name);
    if (base == null) {
      throw new DataException(recipe.base() + " has no " + name);
    }
    return base;
  }

  private static List<Share> normalized(List<Share> shares) {
    double total = shares.stream().mapToDouble(Share::weight).sum();
    double by = Math.abs(total) < 1e-8 ? 1 : total;
    return shares.stream()
        .map(s -> new Share(s.weight() / by, s.density(), s.gamma(), s.epsilon()))
        .toList();
  }

  private DType dtype(StoredTensor like) {
    return switch (recipe.options().dtype()) {
      case "float32" -> DType.F32;
      case "float16" -> DType.F16;
      case "bfloat16" -> DType.BF16;
      default -> like.dtype() == DType.F64 ? DType.F32 : like.dtype();
    };
  }

  /** See {@link ModelEvidence#requireUsed}. */
  void requireAllUsed() {
    evidence.requireUsed();
  }

  /** Refuses a number of models that the method cannot take. */
  void requireEnough(int count) {
    if (count < 2 && kind != MergeKind.PASSTHROUGH) {
      throw new ConfigException(
          "models", "a merge needs at least two models, besides the base; got " + count);
    }
    if (kind == MergeKind.SLERP && count != 2) {
      throw new ConfigException("models", "slerp takes two models, got " + count);
    }
    if (kind == MergeKind.PASSTHROUGH && count != 1) {
      throw new ConfigException("models", "passthrough takes one model, got " + count);
    }
  }
}
