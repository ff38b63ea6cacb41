package org.sparkpeft.merge.recipe;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import org.sparkpeft.core.io.StoredTensor;
import org.sparkpeft.merge.spark.MergedTensor;

/** A recipe without slices: every tensor is merged with those of its name. */
final class WholeModels {
  private WholeModels() {}

  static List<MergedTensor> tensors(MergeRecipe recipe, MergeKind kind, RecipeModels opened) {
    RecipeTensors tensors = new RecipeTensors(recipe, kind, opened);
    List<MergeRecipe.Model> models = models(recipe, kind);
    tensors.requireEnough(models.size());
    String path = recipe.base().isEmpty() ? models.get(0).path() : recipe.base();
    models.forEach(model -> opened.requireSameTensors(path, model.path()));
    SortedMap<String, StoredTensor> reference = opened.tensors(path);
    int layers = LayerNames.count(reference.keySet());
    List<MergedTensor> merged = new ArrayList<>();
    reference.forEach(
        (name, like) ->
            merged.add(
                tensors.of(
                    new RecipeTensors.Origin(
                        name,
                        LayerNames.depth(name, layers),
                        like,
                        models,
                        Collections.nCopies(models.size(), name),
                        Map.of()))));
    tensors.requireAllUsed();
    return merged;
  }

  private static List<MergeRecipe.Model> models(MergeRecipe recipe, MergeKind kind) {
    List<MergeRecipe.Model> models = new ArrayList<>(recipe.models());
    if (kind == MergeKind.SLERP && models.size() == 1 && !recipe.base().isEmpty()) {
      models.add(0, new MergeRecipe.Model(recipe.base(), Map.of()));
    }
    if (kind == MergeKind.SLERP && !recipe.base().isEmpty() && models.size() == 2) {
      // t = 0 is the base, wherever it stands in the list.
      models.sort(
          (a, b) ->
              Boolean.compare(b.path().equals(recipe.base()), a.path().equals(recipe.base())));
    } else if (kind.needsBase()) {
      // A base among the models, as mergekit's examples have it, adds nothing.
      models.removeIf(model -> model.path().equals(recipe.base()));
    }
    return models;
  }
}
