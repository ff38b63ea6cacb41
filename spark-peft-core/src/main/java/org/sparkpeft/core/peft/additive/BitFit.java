package org.sparkpeft.core.peft.additive;

import ai.djl.ndarray.NDArray;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.BaseWeights;
import org.sparkpeft.core.peft.Insertion;
import org.sparkpeft.core.peft.MethodClass;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.MethodTensors;
import org.sparkpeft.core.peft.Modification;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethod;
import org.sparkpeft.core.peft.TargetModules;
import org.sparkpeft.core.peft.TargetSelection;
import org.sparkpeft.core.peft.TensorRole;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * BitFit (Ben Zaken et al. 2021, arXiv 2106.10199): trains the biases of linear layers and norms,
 * nothing else. The trained tensors {@code [out]} are the new values. Averages exactly.
 */
public final class BitFit implements PeftMethod<BitFit.Config> {

  /**
   * Settings.
   *
   * @param targetModules layers whose bias is trained; those without one are passed over
   * @param excludeModules names to leave out, or one regular expression
   * @param modulesToSave modules trained and saved in full
   */
  public record Config(
      TargetModules targetModules, List<String> excludeModules, List<String> modulesToSave)
      implements PeftConfig {

    public Config {
      excludeModules = List.copyOf(excludeModules);
      modulesToSave = List.copyOf(modulesToSave);
    }

    @Override
    public String peftType() {
      return "BITFIT";
    }
  }

  @Override
  public String peftType() {
    return "BITFIT";
  }

  @Override
  public Class<Config> configType() {
    return Config.class;
  }

  @Override
  public MethodClass methodClass() {
    return MethodClass.SELECTIVE;
  }

  @Override
  public double usualRate() {
    return 3;
  }

  /** Every bias. */
  @Override
  public Config defaults() {
    return new Config(new TargetModules(List.of(), ".*"), List.of(), List.of("classifier"));
  }

  @Override
  public AttachedMethod attach(Config config, ModuleTree modules) {
    List<ModuleSpec> biased = modules.all().stream().filter(ModuleSpec::bias).toList();
    return new Attached(
        TargetSelection.select(
            new ModuleTree(biased, modules.structure()),
            config.targetModules(),
            config.excludeModules(),
            List.of(),
            Set.of(ModuleSpec.Kind.LINEAR, ModuleSpec.Kind.LAYER_NORM)));
  }

  private record Attached(List<ModuleSpec> modules) implements AttachedMethod {
    /** Not {@code .bias}, which an adapter file may hold of a head that was made up. */
    private static String trained(ModuleSpec module) {
      return module.path() + ".bitfit_bias";
    }

    @Override
    public Map<String, List<Integer>> shapes() {
      Map<String, List<Integer>> shapes = new LinkedHashMap<>();
      modules.forEach(module -> shapes.put(trained(module), List.of(module.out())));
      return shapes;
    }

    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      Map<String, float[]> values = new LinkedHashMap<>();
      modules.forEach(m -> values.put(trained(m), base.tensor(m.path() + ".bias")));
      return values;
    }

    @Override
    public List<Modification> modifications(MethodTensors tensors, TuningContext context) {
      List<Modification> modifications = new ArrayList<>();
      for (ModuleSpec module : modules) {
        NDArray bias = tensors.parameter(trained(module));
        String path = module.path();
        modifications.add(
            module.kind() == ModuleSpec.Kind.LINEAR
                ? new Modification.OnLinear(
                    path,
                    Insertion.WEIGHT,
                    (below, layer, x) -> below.apply(layer.withBias(bias), x))
                : new Modification.OnNorm(
                    path,
                    Insertion.WEIGHT,
                    (below, layer, x) -> below.apply(layer.with(layer.weight(), bias), x)));
      }
      return modifications;
    }

    @Override
    public TensorRole role(String tensor) {
      return TensorRole.LINEAR;
    }

    @Override
    public Map<String, float[]> fuse(
        ParameterVector parameters, MethodState state, BaseWeights base) {
      Map<String, float[]> fused = new LinkedHashMap<>();
      modules.forEach(m -> fused.put(m.path() + ".bias", parameters.tensor(trained(m))));
      return fused;
    }
  }
}
