package org.sparkpeft.merge.recipe;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.List;
import java.util.SortedMap;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.merge.spark.MergedTensor;

/** A recipe and the checkpoints it names, as tensors to merge. */
public final class CheckpointRecipe {
  private static final List<String> DEPTH_KEYS =
      List.of("num_hidden_layers", "n_layer", "num_layers");

  private final MergeRecipe recipe;
  private final MergeKind kind;
  private final RecipeModels models;
  private final ModelComparison comparison;

  /**
   * Opens and compares the models.
   *
   * @param force merge models although they come from different base models
   * @throws ConfigException if the recipe's method is none of {@link MergeKind}, or lacks a base
   * @throws DataException if models cannot be read, or come from different base models
   */
  public CheckpointRecipe(MergeRecipe recipe, boolean force) {
    this.recipe = recipe;
    this.kind =
        MergeKind.named(recipe.method())
            .orElseThrow(
                () ->
                    new ConfigException(
                        "method",
                        "checkpoints merge by one of "
                            + String.join(", ", MergeKind.names())
                            + ", got "
                            + recipe.method()));
    if (kind.needsBase() && recipe.base().isEmpty()) {
      throw new ConfigException(
          "base", kind.spelling() + " merges differences to a base model; name it");
    }
    this.models = new RecipeModels(recipe);
    this.comparison = new ModelComparison(models, kind != MergeKind.PASSTHROUGH, force);
  }

  /** config.json of the result. */
  public JsonNode config() {
    JsonNode config = models.reference().config();
    if (!recipe.slices().isEmpty() && config instanceof ObjectNode object) {
      int depth = StackedSlices.depth(recipe);
      DEPTH_KEYS.stream().filter(object::has).forEach(key -> object.put(key, depth));
    }
    return config;
  }

  /** Locations of tokenizer and other files of the result, by file name. */
  public SortedMap<String, String> companions() {
    return comparison.companions();
  }

  /** What the user should know of the models, a sentence each. */
  public List<String> notes() {
    return comparison.notes();
  }

  /**
   * Every tensor of the result.
   *
   * @throws DataException if the models' tensors do not go together
   */
  public List<MergedTensor> tensors() {
    List<MergedTensor> tensors =
        recipe.slices().isEmpty()
            ? WholeModels.tensors(recipe, kind, models)
            : StackedSlices.tensors(recipe, kind, models);
    comparison.requireOneBase();
    return tensors;
  }
}
