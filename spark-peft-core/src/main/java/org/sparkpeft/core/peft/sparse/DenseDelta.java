package org.sparkpeft.core.peft.sparse;

import ai.djl.ndarray.NDArray;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Predicate;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.nn.Embedding;
import org.sparkpeft.core.nn.Linear;
import org.sparkpeft.core.peft.BaseWeights;
import org.sparkpeft.core.peft.Insertion;
import org.sparkpeft.core.peft.MethodTensors;
import org.sparkpeft.core.peft.Modification;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * {@code W + D} for tensors of some modules, with D of W's shape trained from zero. Names are
 * LyCORIS': {@code <module>.diff} for the weight, {@code <module>.diff_b} for the bias.
 *
 * @param modules the layers
 * @param tensors names of their tensors that have a difference
 */
record DenseDelta(List<ModuleSpec> modules, Set<String> tensors) {

  DenseDelta {
    modules = List.copyOf(modules);
    tensors = Set.copyOf(tensors);
  }

  /** Of every tensor. */
  DenseDelta(List<ModuleSpec> modules) {
    this(
        modules,
        modules.stream().flatMap(m -> m.tensors().keySet().stream()).collect(Collectors.toSet()));
  }

  /** The difference's name for a base tensor, such as {@code a.diff} for {@code a.weight}. */
  static String name(String tensor) {
    return tensor.endsWith(".bias")
        ? tensor.substring(0, tensor.length() - ".bias".length()) + ".diff_b"
        : tensor.substring(0, tensor.length() - ".weight".length()) + ".diff";
  }

  /** Names of one module's differences. */
  static List<String> names(ModuleSpec module) {
    return module.tensors().keySet().stream().map(DenseDelta::name).toList();
  }

  /** Base tensors by the names of their differences. */
  Map<String, String> bases() {
    Map<String, String> bases = new LinkedHashMap<>();
    for (ModuleSpec module : modules) {
      for (String tensor : module.tensors().keySet()) {
        if (tensors.contains(tensor)) {
          bases.put(name(tensor), tensor);
        }
      }
    }
    return bases;
  }

  Map<String, List<Integer>> shapes() {
    Map<String, List<Integer>> shapes = new LinkedHashMap<>();
    for (ModuleSpec module : modules) {
      module
          .tensors()
          .forEach(
              (tensor, shape) -> {
                if (tensors.contains(tensor)) {
                  shapes.put(name(tensor), shape);
                }
              });
    }
    return shapes;
  }

  /** All zero: the base itself. */
  Map<String, float[]> zeros() {
    Map<String, float[]> zeros = new LinkedHashMap<>();
    shapes()
        .forEach(
            (name, shape) ->
                zeros.put(name, new float[shape.stream().reduce(1, Math::multiplyExact)]));
    return zeros;
  }

  /**
   * @param trained modules whose differences get a gradient; those of others only take part
   */
  List<Modification> modifications(MethodTensors values, Predicate<ModuleSpec> trained) {
    List<Modification> modifications = new ArrayList<>();
    for (ModuleSpec module : modules) {
      boolean own = trained.test(module);
      NDArray weight = tensor(values, weight(module), own);
      NDArray bias = tensor(values, module.path() + ".bias", own);
      modifications.add(modification(module, weight, bias));
    }
    return modifications;
  }

  private static String weight(ModuleSpec module) {
    return module.kind() == ModuleSpec.Kind.TENSOR ? module.path() : module.path() + ".weight";
  }

  private @Nullable NDArray tensor(MethodTensors values, String tensor, boolean trained) {
    if (!tensors.contains(tensor)) {
      return null;
    }
    NDArray difference = values.parameter(name(tensor));
    return trained ? difference : difference.stopGradient();
  }

  private static Modification modification(
      ModuleSpec module, @Nullable NDArray weight, @Nullable NDArray bias) {
    String path = module.path();
    return switch (module.kind()) {
      case LINEAR ->
          new Modification.OnLinear(
              path,
              Insertion.WEIGHT,
              (below, layer, x) -> {
                NDArray shift = layer.bias() == null ? null : sum(layer.bias(), bias);
                return below.apply(
                    weight == null
                        ? layer.withBias(shift)
                        : new Linear(path, weight.add(layer.weight().full(x.getManager())), shift),
                    x);
              });
      case EMBEDDING ->
          new Modification.OnEmbedding(
              path,
              Insertion.WEIGHT,
              (below, layer, ids) -> {
                NDArray rows = below.apply(layer, ids);
                return weight == null ? rows : rows.add(Embedding.of(ids, weight));
              });
      case TENSOR -> new Modification.OnTensor(path, Insertion.WEIGHT, value -> sum(value, weight));
      case LAYER_NORM ->
          new Modification.OnNorm(
              path,
              Insertion.WEIGHT,
              (below, layer, x) ->
                  below.apply(
                      layer.with(
                          sum(layer.weight(), weight),
                          layer.bias() == null ? null : sum(layer.bias(), bias)),
                      x));
    };
  }

  /** The sum belongs to the step, as the difference does. */
  private static NDArray sum(NDArray base, @Nullable NDArray difference) {
    return difference == null ? base : difference.add(base);
  }

  Map<String, float[]> fuse(ParameterVector parameters, BaseWeights base) {
    Map<String, float[]> fused = new LinkedHashMap<>();
    bases()
        .forEach(
            (name, tensor) -> {
              float[] weight = base.tensor(tensor).clone();
              float[] difference = parameters.tensor(name);
              for (int i = 0; i < weight.length; i++) {
                weight[i] += difference[i];
              }
              fused.put(tensor, weight);
            });
    return fused;
  }
}
