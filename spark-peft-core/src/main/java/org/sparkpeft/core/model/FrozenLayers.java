package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import org.jspecify.annotations.Nullable;
import org.sparkpeft.core.engine.HalfTensor;
import org.sparkpeft.core.engine.Nf4Tensor;
import org.sparkpeft.core.engine.TorchEngine;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.io.WeightSource;
import org.sparkpeft.core.nn.Embedding;
import org.sparkpeft.core.nn.LayerNorm;
import org.sparkpeft.core.nn.Linear;
import org.sparkpeft.core.nn.RmsNorm;
import org.sparkpeft.core.nn.Weight;
import org.sparkpeft.core.vector.Nf4;

/**
 * The weights of a model's layers, by module path, as the checkpoint has them. Checkpoints of the
 * bare encoder omit the family's prefix ({@code bert.}), those of a task class have it, and old
 * ones call a norm's tensors gamma and beta, or a direction and its length weight_v and weight_g;
 * all are accepted.
 */
final class FrozenLayers {
  /** Table that encoder and decoder share; some checkpoints hold it under their names alone. */
  private static final String SHARED = "shared.weight";

  /** From here on, float16 rounds to infinity. */
  private static final float FLOAT16_OVERFLOW = 65520;

  private final NDManager manager;
  private final WeightForm form;
  private final String output;

  /** Of linear layers and embeddings, by path. */
  private final Map<String, Weight> weights = new HashMap<>();

  /** All others, by name. */
  private final Map<String, NDArray> tensors = new HashMap<>();

  private final Map<String, Place> places = new HashMap<>();
  private final Set<String> missing = new TreeSet<>();
  private final Map<String, String> tied = new HashMap<>();

  private Nf4Tensor.@Nullable Codebook codebook;

  private FrozenLayers(NDManager manager, WeightForm form, String output) {
    this.manager = manager;
    this.form = form;
    this.output = output;
  }

  /**
   * Reads layers into {@code manager}, one tensor after another.
   *
   * @param source what the weights are, for messages
   * @param family prefix of the family, for example {@code bert}
   * @param output path of the layer over the vocabulary
   * @throws FormatException naming tensors that are missing or have another shape
   */
  static FrozenLayers load(
      NDManager manager,
      String source,
      List<ModuleSpec> modules,
      WeightSource weights,
      String family,
      WeightForm form,
      String output) {
    FrozenLayers layers = new FrozenLayers(manager, form, output);
    Map<String, String> tables = new HashMap<>();
    List<String> absent = new ArrayList<>();
    for (ModuleSpec module : modules) {
      Map<String, String> stored = storedNames(module, weights, family);
      if (repeatsTable(module, stored, weights, tables)) {
        layers.tie(module);
      } else if (stored.size() == module.tensors().size()) {
        stored.forEach((name, spelling) -> layers.read(weights, module, name, spelling));
        if (module.kind() == ModuleSpec.Kind.EMBEDDING) {
          tables.putAll(stored);
        }
      } else if (layers.weights.containsKey(module.storage().tiedTo())) {
        layers.tie(module);
      } else if (module.isHead()) {
        layers.missing.add(module.path());
        layers.makeUp(module);
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

  /** Where the checkpoint has a tensor. */
  private record Place(ModuleSpec module, String name, String spelling) {
    float[] read(WeightSource source) {
      float[] values = source.floats(spelling);
      return module.storage().transposed() && isWeight(module, name)
          ? transposed(values, module.in(), module.out())
          : values;
    }
  }

  private void read(WeightSource source, ModuleSpec module, String name, String spelling) {
    Place place = new Place(module, name, spelling);
    float[] values = place.read(source);
    places.put(name, place);
    List<Integer> shape = Objects.requireNonNull(module.tensors().get(name));
    if (isWeight(module, name)) {
      weights.put(module.path(), weight(spelling, values, shape, form.of(module, output)));
    } else {
      tensors.put(name, TorchEngine.tensor(manager, values, shape));
    }
  }

  /** Whether a tensor is what a linear layer multiplies with, or an embedding's table. */
  private static boolean isWeight(ModuleSpec module, String name) {
    boolean matrix =
        module.kind() == ModuleSpec.Kind.LINEAR || module.kind() == ModuleSpec.Kind.EMBEDDING;
    return matrix && name.equals(module.path() + ".weight");
  }

  private Weight weight(String name, float[] values, List<Integer> shape, WeightForm.Type type) {
    return switch (type) {
      case FLOAT32 -> Weight.of(TorchEngine.tensor(manager, values, shape));
      case BFLOAT16 -> half(values, shape, HalfTensor.Type.BFLOAT16);
      case FLOAT16 -> {
        requireFloat16(name, values);
        yield half(values, shape, HalfTensor.Type.FLOAT16);
      }
      case NF4 -> packed(values, shape);
    };
  }

  private Weight packed(float[] values, List<Integer> shape) {
    Nf4 single = Nf4.quantise(values, form.blocksize());
    Nf4 numbers = form.doubleQuant() ? single.nested() : single;
    return new Weight.Packed(Nf4Tensor.of(codebook(), numbers, shape.get(0), shape.get(1)));
  }

  private Nf4Tensor.Codebook codebook() {
    Nf4Tensor.Codebook known = codebook;
    if (known == null) {
      known = Nf4Tensor.Codebook.in(manager);
      codebook = known;
    }
    return known;
  }

  private Weight half(float[] values, List<Integer> shape, HalfTensor.Type type) {
    return new Weight.Half(HalfTensor.of(manager, values, shape, type));
  }

  private static void requireFloat16(String name, float[] values) {
    for (float value : values) {
      if (Math.abs(value) >= FLOAT16_OVERFLOW) {
        throw new ConfigException(
            "model.dtype",
            "float16 ends at 65504, and the model's " + name + " has " + value + "; use bfloat16");
      }
    }
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
  private static boolean repeatsTable(
      ModuleSpec module,
      Map<String, String> stored,
      WeightSource weights,
      Map<String, String> tables) {
    String table = tables.get(module.storage().tiedTo() + ".weight");
    String name = stored.get(module.path() + ".weight");
    return table != null
        && name != null
        && Arrays.equals(weights.floats(name), weights.floats(table));
  }

  /** The table of the embedding that a module shares. */
  private void tie(ModuleSpec module) {
    weights.put(module.path(), matrix(module.storage().tiedTo()));
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

  private void makeUp(ModuleSpec module) {
    module
        .tensors()
        .forEach(
            (name, shape) -> {
              boolean identity =
                  module.origin() == ModuleSpec.Origin.IDENTITY && name.endsWith(".weight");
              NDArray made =
                  identity
                      ? identity(manager, shape)
                      : manager.zeros(new Shape(shape.stream().mapToLong(d -> d).toArray()));
              if (isWeight(module, name)) {
                weights.put(module.path(), Weight.of(made));
              } else {
                tensors.put(name, made);
              }
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
    return new Linear(path, matrix(path), tensors.get(path + ".bias"));
  }

  Embedding embedding(String path) {
    return new Embedding(path, matrix(path));
  }

  private Weight matrix(String path) {
    Weight matrix = weights.get(path);
    if (matrix == null) {
      throw new IllegalArgumentException("no frozen weight of " + path);
    }
    return matrix;
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

  /** Of a norm. */
  NDArray weight(String path) {
    return tensor(path + ".weight");
  }

  /** A copy of any tensor's values, as they are computed with. */
  float[] values(String name) {
    Weight matrix = weights.get(name.replaceFirst("\\.weight$", ""));
    if (matrix == null || !name.endsWith(".weight")) {
      return tensor(name).toFloatArray();
    }
    try (NDManager scratch = manager.newSubManager()) {
      return matrix.full(scratch).toFloatArray();
    }
  }

  /** A tensor's values as a checkpoint has them; as computed with where it has none. */
  float[] stored(WeightSource source, String name) {
    Place place = places.get(name);
    return place == null ? values(name) : place.read(source);
  }

  /** Bytes of the engine's memory that the tensors take; a table that layers share counts once. */
  long bytes() {
    Set<Weight> each = Collections.newSetFromMap(new IdentityHashMap<>());
    each.addAll(weights.values());
    return each.stream().mapToLong(Weight::bytes).sum()
        + tensors.values().stream().mapToLong(tensor -> 4 * tensor.size()).sum();
  }

  /** What is no linear layer's and no embedding's weight. */
  NDArray tensor(String name) {
    NDArray tensor = tensors.get(name);
    if (tensor == null) {
      throw new IllegalArgumentException("no frozen tensor named " + name);
    }
    return tensor;
  }
}
