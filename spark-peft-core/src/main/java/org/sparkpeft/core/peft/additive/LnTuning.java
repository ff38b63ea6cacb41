package org.sparkpeft.core.peft.additive;

import ai.djl.ndarray.NDArray;
import java.util.EnumSet;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.BaseWeights;
import org.sparkpeft.core.peft.MethodClass;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.MethodTensors;
import org.sparkpeft.core.peft.Modification;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethod;
import org.sparkpeft.core.peft.SavedModules;
import org.sparkpeft.core.peft.TargetModules;
import org.sparkpeft.core.peft.TargetSelection;
import org.sparkpeft.core.peft.TensorRole;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * LayerNorm tuning (Zhao et al. 2023, arXiv 2312.11420): trains weight and bias {@code [size]} of
 * the norms themselves. As in Hugging Face PEFT the trained tensors are the new values, not
 * differences, and any other layer may be named too; it is then trained whole. Averages exactly.
 */
public final class LnTuning implements PeftMethod<LnTuning.Config> {

  /**
   * Settings.
   *
   * @param targetModules norms, or other layers, to train
   * @param excludeModules names to leave out, or one regular expression
   * @param modulesToSave modules trained and saved in full beside them
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
      return "LN_TUNING";
    }
  }

  @Override
  public String peftType() {
    return "LN_TUNING";
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
  public Config defaults() {
    return new Config(TargetModules.of("LayerNorm"), List.of(), List.of("classifier"));
  }

  @Override
  public Config fileDefaults() {
    return new Config(defaults().targetModules(), List.of(), List.of());
  }

  @Override
  public AttachedMethod attach(Config config, ModuleTree modules) {
    return new Attached(
        TargetSelection.select(
            modules,
            config.targetModules(),
            config.excludeModules(),
            List.of(),
            EnumSet.allOf(ModuleSpec.Kind.class)));
  }

  private record Attached(List<ModuleSpec> modules) implements AttachedMethod {
    /** What Hugging Face puts before {@code weight} and {@code bias}. */
    private static final String COPY = ".ln_tuning_layers.";

    private static String trained(String tensor) {
      int dot = tensor.lastIndexOf('.');
      return tensor.substring(0, dot) + COPY + tensor.substring(dot + 1);
    }

    @Override
    public Map<String, List<Integer>> shapes() {
      Map<String, List<Integer>> shapes = new LinkedHashMap<>();
      modules.forEach(
          module -> module.tensors().forEach((name, shape) -> shapes.put(trained(name), shape)));
      return shapes;
    }

    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      Map<String, float[]> values = new LinkedHashMap<>();
      modules.forEach(
          module -> module.tensors().keySet().forEach(n -> values.put(trained(n), base.tensor(n))));
      return values;
    }

    @Override
    public List<Modification> modifications(MethodTensors tensors, TuningContext context) {
      Map<String, NDArray> copies = new HashMap<>();
      modules.forEach(
          module ->
              module
                  .tensors()
                  .keySet()
                  .forEach(name -> copies.put(name, tensors.parameter(trained(name)))));
      return new SavedModules(modules, Set.of(), 0).modifications(copies);
    }

    @Override
    public TensorRole role(String tensor) {
      return TensorRole.LINEAR;
    }

    @Override
    public Map<String, float[]> fuse(
        ParameterVector parameters, MethodState state, BaseWeights base) {
      Map<String, float[]> fused = new LinkedHashMap<>();
      modules.forEach(
          module ->
              module
                  .tensors()
                  .keySet()
                  .forEach(name -> fused.put(name, parameters.tensor(trained(name)))));
      return fused;
    }
  }
}
