package org.sparkpeft.core.peft;

import ai.djl.ndarray.NDArray;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.model.Tuning;
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
  public HeadOnlyConfig readConfig(Map<String, Object> fields) {
    return new HeadOnlyConfig(new ConfigFields(fields).strings("modules_to_save"));
  }

  @Override
  public SortedMap<String, Object> writeConfig(HeadOnlyConfig config) {
    return new TreeMap<>();
  }

  private static final class Nothing implements AttachedMethod {
    @Override
    public Map<String, List<Integer>> shapes() {
      return Map.of();
    }

    @Override
    public Map<String, float[]> initialValues(long seed, BaseWeights base) {
      return Map.of();
    }

    @Override
    public Tuning tuning(Map<String, NDArray> parameters, TuningContext context) {
      return Tuning.NONE;
    }

    @Override
    public Map<String, float[]> fuse(ParameterVector parameters, BaseWeights base) {
      return Map.of();
    }
  }
}
