package org.sparkpeft.core.peft.sparse;

import ai.djl.ndarray.NDArray;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Predicate;
import org.jspecify.annotations.Nullable;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.nn.Embedding;
import org.sparkpeft.core.nn.LayerNorm;
import org.sparkpeft.core.nn.Linear;
import org.sparkpeft.core.peft.BaseWeights;
import org.sparkpeft.core.peft.Insertion;
import org.sparkpeft.core.peft.MethodTensors;
import org.sparkpeft.core.peft.Modification;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * {@code W + D} for every tensor of some modules, with D of W's shape trained from zero. Names are
 * LyCORIS': {@code <module>.diff} for the weight, {@code <module>.diff_b} for the bias.
 */
record DenseDelta(List<ModuleSpec> modules) {

  DenseDelta {
    modules = List.copyOf(modules);
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
    modules.forEach(m -> m.tensors().keySet().forEach(t -> bases.put(name(t), t)));
    return bases;
  }

  Map<String, List<Integer>> shapes() {
    Map<String, List<Integer>> shapes = new LinkedHashMap<>();
    modules.forEach(m -> m.tensors().forEach((tensor, shape) -> shapes.put(name(tensor), shape)));
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
  List<Modification> modifications(MethodTensors tensors, Predicate<ModuleSpec> trained) {
    List<Modification> modifications = new ArrayList<>();
    for (ModuleSpec module : modules) {
      boolean own = trained.test(module);
      NDArray weight = tensor(tensors, module.path() + ".diff", own);
      NDArray bias = module.bias() ? tensor(tensors, module.path() + ".diff_b", own) : null;
      modifications.add(modification(module, weight, bias));
    }
    return modifications;
  }

  private static NDArray tensor(MethodTensors tensors, String name, boolean trained) {
    NDArray tensor = tensors.parameter(name);
    return trained ? tensor : tensor.stopGradient();
  }

  private static Modification modification(
      ModuleSpec module, NDArray weight, @Nullable NDArray bias) {
    String path = module.path();
    return switch (module.kind()) {
      case LINEAR ->
          new Modification.OnLinear(
              path,
              Insertion.WEIGHT,
              (below, layer, x) ->
                  below.apply(
                      new Linear(path, weight.add(layer.weight()), sum(layer.bias(), bias)), x));
      case EMBEDDING ->
          new Modification.OnEmbedding(
              path,
              Insertion.WEIGHT,
              (below, layer, ids) -> below.apply(layer, ids).add(Embedding.of(ids, weight)));
      case LAYER_NORM ->
          new Modification.OnNorm(
              path,
              Insertion.WEIGHT,
              (below, layer, x) -> {
                NDArray shift = bias == null ? layer.bias() : bias.add(layer.bias());
                NDArray scale = weight.add(layer.weight());
                return below.apply(new LayerNorm(path, scale, shift, layer.epsilon()), x);
              });
    };
  }

  private static @Nullable NDArray sum(@Nullable NDArray base, @Nullable NDArray difference) {
    return base == null || difference == null ? base : difference.add(base);
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
