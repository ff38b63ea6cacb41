package org.sparkpeft.merge.recipe;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.io.StoredTensor;
import org.sparkpeft.merge.spark.MergedTensor;

/**
 * A recipe with slices: the layers of the result are taken, slice by slice, from ranges of the
 * models' layers. What belongs to no layer comes from the first slice if it lies before the layers,
 * else from the last.
 */
final class StackedSlices {
  private final MergeRecipe recipe;
  private final MergeKind kind;
  private final RecipeModels opened;
  private final RecipeTensors tensors;
  private final int layers;
  private final SortedMap<String, MergedTensor> merged = new TreeMap<>();

  private StackedSlices(MergeRecipe recipe, MergeKind kind, RecipeModels opened) {
    this.recipe = recipe;
    this.kind = kind;
    this.opened = opened;
    this.tensors = new RecipeTensors(recipe, kind, opened);
    this.layers = depth(recipe);
  }

  /** Number of layers of the result. */
  static int depth(MergeRecipe recipe) {
    return recipe.slices().stream().mapToInt(StackedSlices::length).sum();
  }

  private static int length(MergeRecipe.Slice slice) {
    return slice.sources().get(0).to() - slice.sources().get(0).from();
  }

  static List<MergedTensor> tensors(MergeRecipe recipe, MergeKind kind, RecipeModels opened) {
    StackedSlices stack = new StackedSlices(recipe, kind, opened);
    int place = 0;
    for (MergeRecipe.Slice slice : recipe.slices()) {
      stack.add(slice, place);
      place += length(slice);
    }
    for (int layer = 0; layer < stack.layers; layer++) {
      String part = "." + layer + ".";
      if (stack.merged.keySet().stream().noneMatch(name -> name.contains(part))) {
        throw new DataException("layer " + layer + " of the result is in none of the models");
      }
    }
    return new ArrayList<>(stack.merged.values());
  }

  /** Adds a slice whose first layer is layer {@code place} of the result. */
  private void add(MergeRecipe.Slice slice, int place) {
    List<MergeRecipe.Source> sources = sources(slice);
    List<MergeRecipe.Model> models = sources.stream().map(this::withSettings).toList();
    tensors.requireEnough(models.size());
    boolean first = slice == recipe.slices().get(0);
    boolean last = slice == recipe.slices().get(recipe.slices().size() - 1);
    for (StoredTensor like : opened.tensors(models.get(0).path()).values()) {
      Optional<LayerNames.Layer> parsed = LayerNames.parse(like.name());
      if (parsed.isPresent()) {
        int layer = parsed.get().index() - sources.get(0).from();
        if (layer >= 0 && layer < length(slice)) {
          List<String> originals =
              sources.stream().map(s -> parsed.get().renamed(s.from() + layer)).toList();
          String name = parsed.get().renamed(place + layer);
          double depth = LayerNames.depth(place + layer, layers);
          put(slice, name, depth, like, models, originals);
        }
      } else {
        double depth = LayerNames.depth(like.name(), layers);
        if (depth == 0 ? first : last) {
          List<String> originals = models.stream().map(model -> like.name()).toList();
          put(slice, like.name(), depth, like, models, originals);
        }
      }
    }
  }

  private void put(
      MergeRecipe.Slice slice,
      String name,
      double depth,
      StoredTensor like,
      List<MergeRecipe.Model> models,
      List<String> originals) {
    for (int i = 0; i < originals.size(); i++) {
      String path = models.get(i).path();
      StoredTensor tensor = opened.tensors(path).get(originals.get(i));
      if (tensor == null || !tensor.shape().equals(like.shape())) {
        throw new DataException(
            path
                + " has "
                + (tensor == null
                    ? "no " + originals.get(i)
                    : originals.get(i) + " of shape " + tensor.shape())
                + "; "
                + models.get(0).path()
                + " has "
                + like.shape());
      }
    }
    merged.put(
        name,
        tensors.of(
            new RecipeTensors.Origin(name, depth, like, models, originals, slice.parameters())));
  }

  private List<MergeRecipe.Source> sources(MergeRecipe.Slice slice) {
    List<MergeRecipe.Source> sources = new ArrayList<>(slice.sources());
    for (MergeRecipe.Source source : sources) {
      if (source.to() - source.from() != length(slice)) {
        throw new ConfigException(
            "slices", "the sources of a slice need as many layers each, got " + slice.sources());
      }
    }
    if (kind == MergeKind.SLERP && !recipe.base().isEmpty()) {
      sources.sort((a, b) -> Boolean.compare(isBase(b), isBase(a)));
    } else if (kind.needsBase()) {
      sources.removeIf(this::isBase);
    }
    return sources;
  }

  private boolean isBase(MergeRecipe.Source source) {
    return source.model().path().equals(recipe.base());
  }

  /** What is set for a model in the slice, or else for it in the whole recipe. */
  private MergeRecipe.Model withSettings(MergeRecipe.Source source) {
    String path = source.model().path();
    Map<String, MergeValue> own = new TreeMap<>();
    recipe.models().stream()
        .filter(model -> model.path().equals(path))
        .forEach(model -> own.putAll(model.parameters()));
    own.putAll(source.model().parameters());
    String evidence =
        recipe.models().stream()
            .filter(model -> model.path().equals(path))
            .map(MergeRecipe.Model::evidence)
            .findFirst()
            .orElse("");
    if (!source.model().evidence().isEmpty()) {
      evidence = source.model().evidence();
    }
    return new MergeRecipe.Model(path, own, evidence);
  }
}
