package org.sparkpeft.merge.recipe;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.SortedMap;
import java.util.stream.Collectors;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.io.StoredModel;
import org.sparkpeft.core.io.StoredTensor;
import org.sparkpeft.merge.storage.Storage;

/**
 * Files of what a method weighs models by: of each model's Fisher information, tensors with the
 * names and shapes of its own; of Gram matrices X^T X / n of the inputs of linear layers, {@code
 * MODULE.gram} of shape [in, in] for {@code MODULE.weight} of shape [out, in].
 */
final class ModelEvidence {
  private static final String WEIGHT = ".weight";
  private static final String GRAM = ".gram";

  private final MergeKind kind;
  private final Map<String, SortedMap<String, StoredTensor>> files = new HashMap<>();
  private final Set<String> used = new HashSet<>();

  ModelEvidence(MergeKind kind) {
    this.kind = kind;
  }

  /**
   * What the models' files have for one tensor: an entry for each model, or none.
   *
   * @param names the tensor's name in each model
   * @param like the tensor of one of them
   * @throws ConfigException if a model has no file
   * @throws DataException if a file lacks the tensor, or has another shape; Gram matrices may be
   *     missing in all files
   */
  List<StoredTensor> of(List<MergeRecipe.Model> models, List<String> names, StoredTensor like) {
    if (kind.evidenceKey().isEmpty()) {
      return List.of();
    }
    List<StoredTensor> found = new ArrayList<>();
    List<String> without = new ArrayList<>();
    for (int i = 0; i < models.size(); i++) {
      String name = kind == MergeKind.REGMEAN ? gram(names.get(i)) : names.get(i);
      SortedMap<String, StoredTensor> file = file(models.get(i));
      StoredTensor tensor = file.get(name);
      if (tensor == null) {
        without.add(models.get(i).evidence() + " has no " + name);
      } else {
        used.add(name);
        found.add(requireShape(tensor, like));
      }
    }
    if (without.isEmpty() || (kind == MergeKind.REGMEAN && found.isEmpty())) {
      return found;
    }
    throw new DataException(
        without.stream().limit(3).collect(Collectors.joining("; "))
            + (kind == MergeKind.REGMEAN
                ? "; a layer needs Gram matrices of all models, or of none to be averaged"
                : "; every tensor needs Fisher information of every model"));
  }

  /**
   * Refuses Gram matrices of no layer: a name that is misspelt would mean a plain mean.
   *
   * @throws DataException naming one
   */
  void requireUsed() {
    if (kind != MergeKind.REGMEAN) {
      return;
    }
    files.forEach(
        (file, tensors) -> {
          for (String name : tensors.keySet()) {
            if (!used.contains(name)) {
              throw new DataException(
                  file
                      + ": "
                      + name
                      + " is no Gram matrix of a tensor of the models; MODULE.gram belongs to"
                      + " MODULE.weight");
            }
          }
        });
  }

  private static String gram(String name) {
    return (name.endsWith(WEIGHT) ? name.substring(0, name.length() - WEIGHT.length()) : name)
        + GRAM;
  }

  private StoredTensor requireShape(StoredTensor tensor, StoredTensor like) {
    List<Integer> expected = like.shape();
    if (kind == MergeKind.REGMEAN) {
      int in = expected.isEmpty() ? 0 : expected.get(expected.size() - 1);
      expected = List.of(in, in);
    }
    if (!tensor.shape().equals(expected) || !tensor.dtype().isFloating()) {
      throw new DataException(
          tensor.file()
              + ": "
              + tensor.name()
              + " is "
              + tensor.dtype()
              + " "
              + tensor.shape()
              + "; for "
              + like.name()
              + " of shape "
              + like.shape()
              + " it must be floats of shape "
              + expected);
    }
    return tensor;
  }

  private SortedMap<String, StoredTensor> file(MergeRecipe.Model model) {
    if (model.evidence().isEmpty()) {
      throw new ConfigException(
          kind.evidenceKey(),
          kind.spelling()
              + " needs a safetensors file for each model; "
              + model.path()
              + " has none, add \""
              + kind.evidenceKey()
              + ": FILE\" to it in a recipe");
    }
    return files.computeIfAbsent(model.evidence(), ModelEvidence::open);
  }

  private static SortedMap<String, StoredTensor> open(String location) {
    String file = Storage.absolute(location);
    if (!Storage.ANY.isFile(file)) {
      throw new DataException("there is no file " + file);
    }
    return StoredModel.file(Storage.ANY, file);
  }
}
