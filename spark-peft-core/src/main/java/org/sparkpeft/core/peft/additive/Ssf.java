package org.sparkpeft.core.peft.additive;

import ai.djl.ndarray.NDArray;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import org.sparkpeft.core.error.Problems;
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
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * Scaling and shifting features (Lian et al. 2022, arXiv 2210.08823): {@code y <- gamma * y + beta}
 * after a linear layer or a norm, with {@code gamma, beta [out]}. Folds into the layer before it.
 * Averaging gamma and beta is averaging the folded weights. Neither decays: decay would pull gamma
 * to 0, not to 1.
 */
public final class Ssf implements PeftMethod<Ssf.Config> {

  /**
   * Settings.
   *
   * @param targetModules linear layers and norms whose output is scaled and shifted
   * @param excludeModules names to leave out, or one regular expression
   * @param initSsfWeights {@code identity} (ones and zeros) or {@code normal} (N(1, 0.02) and N(0,
   *     0.02), the paper's)
   * @param modulesToSave modules trained and saved in full
   */
  public record Config(
      TargetModules targetModules,
      List<String> excludeModules,
      String initSsfWeights,
      List<String> modulesToSave)
      implements PeftConfig {

    public Config {
      excludeModules = List.copyOf(excludeModules);
      modulesToSave = List.copyOf(modulesToSave);
      new Problems()
          .require(
              List.of("identity", "normal").contains(initSsfWeights),
              "init_ssf_weights",
              initSsfWeights,
              "must be identity or normal")
          .throwIfAny();
    }

    @Override
    public String peftType() {
      return "SSF";
    }
  }

  @Override
  public String peftType() {
    return "SSF";
  }

  @Override
  public Class<Config> configType() {
    return Config.class;
  }

  @Override
  public MethodClass methodClass() {
    return MethodClass.REPARAMETERISED;
  }

  @Override
  public double usualRate() {
    return 3;
  }

  /** Every linear layer and norm of a BERT encoder. */
  @Override
  public Config defaults() {
    return new Config(
        TargetModules.of("query", "key", "value", "dense", "LayerNorm"),
        List.of(),
        "identity",
        List.of("classifier"));
  }

  @Override
  public AttachedMethod attach(Config config, ModuleTree modules) {
    return new Attached(
        config,
        TargetSelection.select(
            modules,
            config.targetModules(),
            config.excludeModules(),
            List.of(),
            Set.of(ModuleSpec.Kind.LINEAR, ModuleSpec.Kind.LAYER_NORM)));
  }

  private record Attached(Config config, List<ModuleSpec> modules) implements AttachedMethod {
    private static String gamma(ModuleSpec module) {
      return module.path() + ".ssf_scale";
    }

    private static String beta(ModuleSpec module) {
      return module.path() + ".ssf_shift";
    }

    @Override
    public Map<String, List<Integer>> shapes() {
      Map<String, List<Integer>> shapes = new LinkedHashMap<>();
      for (ModuleSpec module : modules) {
        shapes.put(gamma(module), List.of(module.out()));
        shapes.put(beta(module), List.of(module.out()));
      }
      return shapes;
    }

    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      Map<String, float[]> values = new LinkedHashMap<>();
      for (ModuleSpec module : modules) {
        float[] scale = new float[module.out()];
        float[] shift = new float[module.out()];
        Arrays.fill(scale, 1);
        if (config.initSsfWeights().equals("normal")) {
          Philox random = Philox.of(seed, "ssf", Philox.hash(module.path()));
          float[] noise = random.child(0).gaussian(scale.length, 0.02);
          for (int i = 0; i < scale.length; i++) {
            scale[i] += noise[i];
          }
          shift = random.child(1).gaussian(shift.length, 0.02);
        }
        values.put(gamma(module), scale);
        values.put(beta(module), shift);
      }
      return values;
    }

    @Override
    public List<Modification> modifications(MethodTensors tensors, TuningContext context) {
      List<Modification> modifications = new ArrayList<>();
      for (ModuleSpec module : modules) {
        NDArray scale = tensors.parameter(gamma(module));
        NDArray shift = tensors.parameter(beta(module));
        modifications.add(
            module.kind() == ModuleSpec.Kind.LINEAR
                ? Modification.sequential(module.path(), y -> y.mul(scale).add(shift))
                : new Modification.OnNorm(
                    module.path(),
                    Insertion.SEQUENTIAL,
                    (below, layer, x) -> below.apply(layer, x).mul(scale).add(shift)));
      }
      return modifications;
    }

    @Override
    public TensorRole role(String tensor) {
      return TensorRole.LINEAR.undecayed();
    }

    @Override
    public Optional<String> whyNotFused() {
      return modules.stream()
          .filter(module -> !module.bias())
          .findFirst()
          .map(module -> module.path() + " has no bias to take the shift");
    }

    /** {@code diag(gamma) W} (for a norm {@code gamma * weight}) and {@code gamma * b + beta}. */
    @Override
    public Map<String, float[]> fuse(
        ParameterVector parameters, MethodState state, BaseWeights base) {
      Map<String, float[]> fused = new LinkedHashMap<>();
      for (ModuleSpec module : modules) {
        float[] scale = parameters.tensor(gamma(module));
        float[] shift = parameters.tensor(beta(module));
        float[] weight = base.tensor(module.path() + ".weight").clone();
        float[] bias = base.tensor(module.path() + ".bias").clone();
        int row = weight.length / bias.length; // inputs of a linear layer, 1 for a norm
        for (int i = 0; i < weight.length; i++) {
          weight[i] *= scale[i / row];
        }
        for (int i = 0; i < bias.length; i++) {
          bias[i] = scale[i] * bias[i] + shift[i];
        }
        fused.put(module.path() + ".weight", weight);
        fused.put(module.path() + ".bias", bias);
      }
      return fused;
    }
  }
}
