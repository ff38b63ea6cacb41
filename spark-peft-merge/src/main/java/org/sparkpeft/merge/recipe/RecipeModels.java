package org.sparkpeft.merge.recipe;

import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeSet;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.io.StoredModel;
import org.sparkpeft.core.io.StoredTensor;
import org.sparkpeft.merge.storage.Storage;

/** The models that a recipe names, opened. */
final class RecipeModels {
  private static final String BUNDLED = "bundled:";

  private final Map<String, StoredModel> models = new LinkedHashMap<>();
  private final String reference;

  RecipeModels(MergeRecipe recipe) {
    List<String> paths = new ArrayList<>(recipe.paths());
    this.reference = recipe.base().isEmpty() ? paths.get(0) : recipe.base();
    if (!paths.contains(reference)) {
      paths.add(reference);
    }
    for (String path : paths) {
      models.put(path, open(path));
    }
  }

  private static StoredModel open(String path) {
    String folder =
        path.startsWith(BUNDLED) ? ModelDirectory.resolve(path).path().toString() : path;
    return StoredModel.open(Storage.ANY, Storage.absolute(folder));
  }

  /** The base, or else the first model: it gives configuration and tokenizer. */
  StoredModel reference() {
    return get(reference);
  }

  /** How the recipe names the {@link #reference}. */
  String referencePath() {
    return reference;
  }

  StoredModel get(String path) {
    return Objects.requireNonNull(models.get(path), path);
  }

  SortedMap<String, StoredTensor> tensors(String path) {
    return get(path).tensors();
  }

  /** How the recipe names them. */
  Collection<String> paths() {
    return models.keySet();
  }

  /**
   * Refuses a model with other tensors than the reference.
   *
   * @throws DataException naming some of those that differ
   */
  void requireSameTensors(String referencePath, String path) {
    SortedMap<String, StoredTensor> expected = tensors(referencePath);
    SortedMap<String, StoredTensor> other = tensors(path);
    List<String> different = new ArrayList<>();
    Set<String> names = new TreeSet<>(expected.keySet());
    names.addAll(other.keySet());
    for (String name : names) {
      StoredTensor a = expected.get(name);
      StoredTensor b = other.get(name);
      if (a == null || b == null || !a.shape().equals(b.shape())) {
        different.add(
            name
                + " is "
                + (b == null ? "missing" : b.shape())
                + ", elsewhere "
                + (a == null ? "missing" : a.shape()));
      }
    }
    if (!different.isEmpty()) {
      int shown = Math.min(5, different.size());
      throw new DataException(
          path
              + " is no model of the same architecture: "
              + String.join("; ", different.subList(0, shown))
              + (shown < different.size() ? "; and " + (different.size() - shown) + " more" : ""));
    }
  }
}
