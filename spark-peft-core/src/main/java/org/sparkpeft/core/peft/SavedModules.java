package org.sparkpeft.core.peft;

import ai.djl.ndarray.NDArray;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.nn.Embedding;
import org.sparkpeft.core.nn.Linear;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * Modules that are trained in full beside any method ({@code modules_to_save}): their trained copy
 * takes the place of the frozen one.
 */
public final class SavedModules {
  private final List<ModuleSpec> modules;
  private final Set<String> fresh;
  private final double deviation;

  /**
   * @param modules the modules, without repetition
   * @param fresh paths of those that the checkpoint lacks
   * @param deviation standard deviation of fresh weights
   */
  public SavedModules(List<ModuleSpec> modules, Set<String> fresh, double deviation) {
    this.modules = List.copyOf(modules);
    this.fresh = Set.copyOf(fresh);
    this.deviation = deviation;
  }

  public List<ModuleSpec> modules() {
    return modules;
  }

  public Map<String, List<Integer>> shapes() {
    Map<String, List<Integer>> shapes = new LinkedHashMap<>();
    modules.forEach(module -> shapes.putAll(module.tensors()));
    return shapes;
  }

  /**
   * The base's values; for modules of the head that the checkpoint lacks, normal weights and zero
   * biases, and the identity where the module is made up so.
   */
  public Map<String, float[]> initialValues(long seed, BaseWeights base) {
    Map<String, float[]> values = new LinkedHashMap<>();
    for (ModuleSpec module : modules) {
      boolean random = fresh.contains(module.path()) && module.origin() == ModuleSpec.Origin.FRESH;
      for (String name : module.tensors().keySet()) {
        if (random && name.endsWith(".weight")) {
          Philox numbers = Philox.of(seed, "head", Philox.hash(name));
          values.put(name, numbers.gaussian(module.in() * module.out(), deviation));
        } else {
          values.put(name, base.tensor(name));
        }
      }
    }
    return values;
  }

  /** The trained copies of these modules in place of the frozen ones. */
  public List<Modification> modifications(Map<String, NDArray> parameters) {
    List<Modification> replaced = new ArrayList<>();
    for (ModuleSpec module : modules) {
      String path = module.path();
      String name = module.kind() == ModuleSpec.Kind.TENSOR ? path : path + ".weight";
      NDArray weight = parameters.get(name);
      if (weight == null) {
        throw new IllegalArgumentException("no parameter named " + name);
      }
      NDArray bias = parameters.get(path + ".bias");
      replaced.add(
          switch (module.kind()) {
            case LINEAR ->
                new Modification.OnLinear(
                    path, Insertion.WEIGHT, (below, layer, x) -> Linear.of(x, weight, bias));
            case EMBEDDING ->
                new Modification.OnEmbedding(
                    path, Insertion.WEIGHT, (below, layer, ids) -> Embedding.of(ids, weight));
            case TENSOR -> new Modification.OnTensor(path, Insertion.WEIGHT, value -> weight);
            case LAYER_NORM ->
                new Modification.OnNorm(
                    path, Insertion.WEIGHT, (below, layer, x) -> layer.with(weight, bias).apply(x));
          });
    }
    return replaced;
  }

  /** Why several clients cannot share a forward pass; empty if they can. */
  public Optional<String> whyOneByOne() {
    return modules.stream()
        .filter(module -> module.kind() != ModuleSpec.Kind.LINEAR)
        .findFirst()
        .map(module -> module.path() + " is trained in full and is no linear layer");
  }

  /**
   * {@link #modifications} for several clients at once, each with its own copies.
   *
   * @param parameters with the client in front, {@code [clients, ...]}
   */
  public List<Modification> modificationsByClient(
      Map<String, NDArray> parameters, ClientRows rows) {
    MethodTensors tensors = new MethodTensors(parameters, Map.of());
    List<Modification> replaced = new ArrayList<>();
    for (ModuleSpec module : modules) {
      NDArray weights = tensors.parameter(module.path() + ".weight"); // [clients, out, in]
      NDArray biases = parameters.get(module.path() + ".bias"); // [clients, out]
      replaced.add(
          new Modification.OnLinear(
              module.path(),
              Insertion.WEIGHT,
              (below, layer, x) -> {
                NDArray y = ClientRows.product(rows.blocks(x), weights);
                return rows.rows(biases == null ? y : y.add(biases.expandDims(1)), x.getShape());
              }));
    }
    return replaced;
  }

  /** The trained values, which replace those of the base. */
  public Map<String, float[]> fuse(ParameterVector parameters) {
    Map<String, float[]> fused = new LinkedHashMap<>();
    shapes().keySet().forEach(name -> fused.put(name, parameters.tensor(name)));
    return fused;
  }
}
