package org.sparkpeft.core.peft.sparse;

import java.util.List;
import java.util.Map;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.BaseWeights;
import org.sparkpeft.core.peft.MethodClass;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.MethodTensors;
import org.sparkpeft.core.peft.Modification;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethod;
import org.sparkpeft.core.peft.TargetModules;
import org.sparkpeft.core.peft.TensorRole;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * Full fine-tuning as a difference: {@code W + D} for every tensor of the target modules, D of W's
 * shape, trained from zero. The reference that any sparser method is measured against. It differs
 * from {@code NONE} with {@code modules_to_save}, which trains copies of the weights themselves:
 * here weight decay pulls towards the pretrained weights, differences of several trainings add
 * exactly, and the file holds them under LyCORIS' names ({@code diff}, {@code diff_b}). Averages of
 * clients are exact.
 */
public final class Full implements PeftMethod<Full.Config> {

  /**
   * @param targetModules layers of any kind, outside the task head
   * @param excludeModules names to leave out
   * @param layersToTransform layer numbers to act on; empty means all
   * @param modulesToSave modules trained as copies, such as the head
   */
  public record Config(
      TargetModules targetModules,
      List<String> excludeModules,
      List<Integer> layersToTransform,
      List<String> modulesToSave)
      implements PeftConfig {
    public Config {
      excludeModules = List.copyOf(excludeModules);
      layersToTransform = List.copyOf(layersToTransform);
      modulesToSave = List.copyOf(modulesToSave);
    }

    @Override
    public String peftType() {
      return "FULL";
    }
  }

  @Override
  public String peftType() {
    return "FULL";
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
    return 0.1;
  }

  /** The whole encoder. */
  @Override
  public Config defaults() {
    return new Config(Checks.EVERYTHING, List.of(), List.of(), List.of("classifier"));
  }

  @Override
  public AttachedMethod attach(Config config, ModuleTree modules) {
    return new Attached(
        new DenseDelta(
            Checks.body(
                modules,
                config.targetModules(),
                config.excludeModules(),
                config.layersToTransform())));
  }

  private record Attached(DenseDelta delta) implements AttachedMethod {

    @Override
    public Map<String, List<Integer>> shapes() {
      return delta.shapes();
    }

    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      return delta.zeros();
    }

    @Override
    public TensorRole role(String tensor) {
      return TensorRole.LINEAR;
    }

    @Override
    public Map<String, float[]> fuse(
        ParameterVector parameters, MethodState state, BaseWeights base) {
      return delta.fuse(parameters, base);
    }

    @Override
    public List<Modification> modifications(MethodTensors tensors, TuningContext context) {
      return delta.modifications(tensors, module -> true);
    }
  }
}
