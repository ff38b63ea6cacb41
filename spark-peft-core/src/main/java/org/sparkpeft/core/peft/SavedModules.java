package org.sparkpeft.core.peft;

import ai.djl.ndarray.NDArray;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.Tuning;
import org.sparkpeft.core.nn.Embedding;
import org.sparkpeft.core.nn.LayerNorm;
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

  /** {@code inner} with the trained copies of these modules in place of the frozen ones. */
  public Tuning over(Tuning inner, Map<String, NDArray> parameters) {
    if (modules.isEmpty()) {
      return inner;
    }
    Map<String, Trained> trained = new HashMap<>();
    for (ModuleSpec module : modules) {
      NDArray weight = parameters.get(module.path() + ".weight");
      if (weight == null) {
        throw new IllegalArgumentException("no parameter named " + module.path() + ".weight");
      }
      Optional<NDArray> bias = Optional.ofNullable(parameters.get(module.path() + ".bias"));
      trained.put(module.path(), new Trained(weight, bias));
    }
    return new Overlay(inner, trained);
  }

  /** The trained values, which replace those of the base. */
  public Map<String, float[]> fuse(ParameterVector parameters) {
    Map<String, float[]> fused = new LinkedHashMap<>();
    shapes().keySet().forEach(name -> fused.put(name, parameters.tensor(name)));
    return fused;
  }

  private record Trained(NDArray weight, Optional<NDArray> bias) {}

  private record Overlay(Tuning inner, Map<String, Trained> trained) implements Tuning {
    @Override
    public NDArray linear(Linear layer, NDArray x) {
      Trained copy = trained.get(layer.path());
      return copy == null
          ? inner.linear(layer, x)
          : Linear.of(x, copy.weight(), copy.bias().orElse(null));
    }

    @Override
    public NDArray embedding(Embedding layer, NDArray ids) {
      Trained copy = trained.get(layer.path());
      return copy == null ? inner.embedding(layer, ids) : Embedding.of(ids, copy.weight());
    }

    @Override
    public NDArray layerNorm(LayerNorm layer, NDArray x) {
      Trained copy = trained.get(layer.path());
      return copy == null
          ? inner.layerNorm(layer, x)
          : LayerNorm.of(x, copy.weight(), copy.bias().orElseThrow(), layer.epsilon());
    }

    @Override
    public NDArray residual(String path, NDArray x) {
      return inner.residual(path, x);
    }

    @Override
    public int virtualTokens() {
      return inner.virtualTokens();
    }

    @Override
    public NDArray inputEmbeddings(NDArray embedded) {
      return inner.inputEmbeddings(embedded);
    }

    @Override
    public int prefixLength() {
      return inner.prefixLength();
    }

    @Override
    public Optional<KeyValue> prefix(String path) {
      return inner.prefix(path);
    }
  }
}
