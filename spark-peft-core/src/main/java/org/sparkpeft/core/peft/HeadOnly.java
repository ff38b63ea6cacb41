package org.sparkpeft.core.peft;

import java.util.List;
import java.util.Map;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.vector.ParameterVector;

/** The method without parameters of its own; see {@link HeadOnlyConfig}. */
public final class HeadOnly implements PeftMethod<HeadOnlyConfig> {
  @Override
  public String peftType() {
    return "NONE";
  }

  @Override
  public Class<HeadOnlyConfig> configType() {
    return HeadOnlyConfig.class;
  }

  @Override
  public AttachedMethod attach(HeadOnlyConfig config, ModuleTree modules) {
    return new Nothing();
  }

  @Override
  public MethodClass methodClass() {
    return MethodClass.SELECTIVE;
  }

  @Override
  public double usualRate() {
    return 3;
  }

  @Override
  public HeadOnlyConfig defaults() {
    return HeadOnlyConfig.defaults();
  }

  private static final class Nothing implements AttachedMethod {
    @Override
    public Map<String, List<Integer>> shapes() {
      return Map.of();
    }

    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      return Map.of();
    }

    @Override
    public List<Modification> modifications(MethodTensors tensors, TuningContext context) {
      return List.of();
    }

    @Override
    public Map<String, float[]> fuse(
        ParameterVector parameters, MethodState state, BaseWeights base) {
      return Map.of();
    }
  }
}
