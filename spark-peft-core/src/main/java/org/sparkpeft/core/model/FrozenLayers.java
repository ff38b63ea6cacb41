package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import org.jspecify.annotations.Nullable;
import org.sparkpeft.core.engine.TorchEngine;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.io.WeightSource;
import org.sparkpeft.core.nn.Embedding;
import org.sparkpeft.core.nn.LayerNorm;
import org.sparkpeft.core.nn.Linear;
import org.sparkpeft.core.nn.RmsNorm;

/**
 * The weights of a model's layers, by module path, as the checkpoint has them. Checkpoints of the
 * bare encoder omit the family's prefix ({@code bert.}), those of a task class have it, and old
 * ones call a norm's tensors gamma and beta, or a direction and its length weight_v and weight_g;
 * all are accepted.
 */
final class FrozenLayers {
  /** Table that encoder and decoder share; some checkpoints hold it under their names alone. */
  private static final String SHARED = "shared.weight";

  private final Map<String, NDArray> tensors = new HashMap<>();
  private final Set<String> missing = new TreeSet<>();
  private final Map<String, String> tied = new HashMap<>();

  private FrozenLayers() {}

  /**
   * Reads layers into {@code manager}.
   *
   * @param source what the weights are, for messages
   * @param family prefix of the family, for example {@code bert}
   * @throws FormatException naming tensors that are missing or have another shape
   */
  static FrozenLayers load(
      NDManager manager,
      String source,
      List<ModuleSpec> modules,
      WeightSource weights,
      String family) {
    FrozenLayers layers = new FrozenLayers();
    List<String> absent = new ArrayList<>();
    for (ModuleSpec module : modules) {
      Map<String, String> stored = storedNames(module, weights, family);
      if (layers.repeatsTable(module, stored, weights)) {
        layers.tie(module);
      } else if (stored.size() == module.tensors().size()) {
        stored.forEach(
            (name, spelling) ->
                layers.tensors.put(name, read(manager, weights, module, name, spelling)));
      } else if (layers.tensors.containsKey(module.storage().tiedTo() + ".weight")) {
        layers.tie(module);
      } else if (module.isHead()) {
        layers.missing.add(module.path());
        layers.makeUp(manager, module);
      } else {
        module.tensors().keySet().stream()
            .filter(name -> !stored.containsKey(name))
            .forEach(absent::add);
      }
    }
    if (!absent.isEmpty()) {
      throw new FormatException(
          source,
          "the checkpoint lacks "
              + absent.size()
              + " tensors that its configuration asks for: "
              + String.join(", ", absent.subList(0, Math.min(absent.size(), 8))));
    }
    return layers;
  }

  private static NDArray read(
      NDManager manager, WeightSource weights, ModuleSpec module, String name, String spelling) {
    float[] values = weights.floats(spelling);
    if (module.storage().transposed() && name.endsWith(".weight")) {
      values = transposed(values, module.in(), module.out());
    }
    return TorchEngine.tensor(manager, values, Objects.requireNonNull(module.tensors().get(name)));
  }

  /** {@code [rows, columns]} to {@code [columns, rows]}. */
  static float[] transposed(float[] values, int rows, int columns) {
    float[] turned = new float[values.length];
    for (int row = 0; row < rows; row++) {
      for (int column = 0; column < columns; column++) {
        turned[column * rows + row] = values[row * columns + column];
      }
    }
    return turned;
  }

  /** Whether a module that may share an embedding's table is stored as a copy of it. */
  private boolean repeatsTable(
      ModuleSpec module, Map<String, String> stored, WeightSource weights) {
    NDArray table = tensors.get(module.storage().tiedTo() + ".weight");
    String name = stored.get(module.path() + ".weight");
    return table != null
        && name != null
        && Arrays.equals(weights.floats(name), table.toFloatArray());
  }

  /** The table of the embedding that a module shares. */
  private void tie(ModuleSpec module) {
    NDArray table = tensor(module.storage().tiedTo() + ".weight");
    tensors.put(module.path() + ".weight", table);
    tied.put(module.path(), module.storage().tiedTo());
  }

  /** For each tensor of a module that the checkpoint holds in the right shape, its name there. */
  private static Map<String, String> storedNames(
      ModuleSpec module, WeightSource weights, String family) {
    Map<String, String> stored = new HashMap<>();
    module
        .tensors()
        .forEach(
            (name, shape) -> {
              Optional<String> found =
                  spellings(name, family).stream().filter(weights::contains).findFirst();
              if (found.isPresent()) {
                List<Integer> actual = weights.shape(found.get());
                List<Integer> wanted = module.storedShape(name);
                if (actual.equals(wanted)) {
                  stored.put(name, found.get());
                } else if (!module.isHead()) {
                  throw new FormatException(
                      found.get(),
                      "has shape " + actual + "; the configuration asks for " + wanted);
                }
              }
            });
    return stored;
  }

  private static List<String> spellings(String name, String family) {
    String prefix = family + ".";
    List<String> names = new ArrayList<>();
    names.add(name);
    names.add(name.startsWith(prefix) ? name.substring(prefix.length()) : prefix + name);
    for (String modern : List.copyOf(names)) {
      names.add(
          modern
              .replace("LayerNorm.weight", "LayerNorm.gamma")
              .replace("LayerNorm.bias", "LayerNorm.beta")
              .replace("parametrizations.weight.original0", "weight_g")
              .replace("parametrizations.weight.original1", "weight_v"));
    }
    for (String shared : List.copyOf(names)) {
      if (shared.endsWith(SHARED)) {
        String before = shared.substring(0, shared.length() - SHARED.length());
        names.add(before + "encoder.embed_tokens.weight");
        names.add(before + "decoder.embed_tokens.weight");
      }
    }
    return names;
  }

  private void makeUp(NDManager manager, ModuleSpec module) {
    module
        .tensors()
        .forEach(
            (name, shape) -> {
              boolean identity =
                  module.origin() == ModuleSpec.Origin.IDENTITY && name.endsWith(".weight");
              tensors.put(
                  name,
                  identity
                      ? identity(manager, shape)
                      : manager.zeros(new Shape(shape.stream().mapToLong(d -> d).toArray())));
            });
  }

  /** The weight of a linear layer or of a norm that changes as little as it can. */
  private static NDArray identity(NDManager manager, List<Integer> shape) {
    return shape.size() == 2
        ? manager.eye(shape.get(0), shape.get(1), 0, DataType.FLOAT32)
        : manager.ones(new Shape(shape.get(0)));
  }

  /** Paths of head modules that the checkpoint lacks. */
  Set<String> missing() {
    return missing;
  }

  /** Modules whose weight is an embedding's table, with its path. */
  Map<String, String> tied() {
    return tied;
  }

  Linear linear(String path) {
    return new Linear(path, weight(path), bias(path));
  }

  Embedding embedding(String path) {
    return new Embedding(path, weight(path));
  }

  LayerNorm layerNorm(String path, float epsilon) {
    return new LayerNorm(path, weight(path), tensor(path + ".bias"), epsilon);
  }

  RmsNorm rmsNorm(String path, float epsilon) {
    return rmsNorm(path, epsilon, 0);
  }

  /**
   * @param offset added to the weights, see {@link RmsNorm}
   */
  RmsNorm rmsNorm(String path, float epsilon, float offset) {
    return new RmsNorm(path, weight(path), epsilon, offset);
  }

  NDArray weight(String path) {
    return tensor(path + ".weight");
  }

  @Nullable NDArray bias(String path) {
    return tensors.get(path + ".bias");
  }

  NDArray tensor(String name) {
    NDArray tensor = tensors.get(name);
    if (tensor == null) {
      throw new IllegalArgumentException("no frozen tensor named " + name);
    }
    return tensor;
  }
}
