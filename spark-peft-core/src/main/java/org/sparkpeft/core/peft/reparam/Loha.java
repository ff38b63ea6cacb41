package org.sparkpeft.core.peft.reparam;

import ai.djl.ndarray.NDArray;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.sparkpeft.core.engine.Scalars;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.BaseWeights;
import org.sparkpeft.core.peft.MethodClass;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.MethodTensors;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethod;
import org.sparkpeft.core.peft.TargetModules;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;

/**
 * LoHa, the Hadamard product of two low-rank matrices (Hyeon-Woo et al. 2021, FedPara, arXiv
 * 2108.06098; Yeh et al. 2023, LyCORIS, arXiv 2309.14859): {@code W + (alpha / r) (A1 B1) * (A2
 * B2)} with {@code A [out, r]}, {@code B [r, in]} and * entry by entry, of rank up to r². Starts as
 * the base, because B2 is zero. Averages of factors are not averages of weights.
 */
public final class Loha implements PeftMethod<Loha.Config> {

  /**
   * The settings, under Hugging Face's names.
   *
   * @param r rank of each of the two factors
   * @param alpha numerator of the scaling alpha / r
   * @param rankDropout probability of leaving out a row of the change while training
   * @param moduleDropout probability of leaving out a layer's change while training
   * @param targetModules linear layers acted on
   * @param excludeModules names to leave out
   * @param initWeights false starts with all factors random, so the output changes at once
   * @param rankPattern rank by pattern of module names
   * @param alphaPattern alpha by pattern of module names
   * @param layersToTransform layer numbers; empty means all
   * @param modulesToSave modules trained in full
   */
  public record Config(
      int r,
      double alpha,
      double rankDropout,
      double moduleDropout,
      TargetModules targetModules,
      List<String> excludeModules,
      boolean initWeights,
      Map<String, Integer> rankPattern,
      Map<String, Double> alphaPattern,
      List<Integer> layersToTransform,
      List<String> modulesToSave)
      implements PeftConfig {

    public Config {
      excludeModules = List.copyOf(excludeModules);
      rankPattern = Checks.ordered(rankPattern);
      alphaPattern = Checks.ordered(alphaPattern);
      layersToTransform = List.copyOf(layersToTransform);
      modulesToSave = List.copyOf(modulesToSave);
      Problems problems = new Problems();
      Checks.rank(problems, r);
      Checks.positive(problems, "alpha", alpha);
      Checks.probability(problems, "rank_dropout", rankDropout);
      Checks.probability(problems, "module_dropout", moduleDropout);
      Checks.wholePatterns(problems, "rank_pattern", rankPattern, Checks.MAX_RANK);
      Checks.positivePatterns(problems, "alpha_pattern", alphaPattern);
      Checks.layers(problems, layersToTransform);
      problems.throwIfAny();
    }

    @Override
    public String peftType() {
      return "LOHA";
    }
  }

  private static Config config(List<String> modulesToSave) {
    return new Config(
        8,
        8,
        0,
        0,
        TargetModules.of("query", "value"),
        List.of(),
        true,
        Map.of(),
        Map.of(),
        List.of(),
        modulesToSave);
  }

  @Override
  public String peftType() {
    return "LOHA";
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
  public Config defaults() {
    return config(List.of("classifier"));
  }

  @Override
  public Config fileDefaults() {
    return config(List.of());
  }

  /** Convolutions alone have an effective decomposition. */
  @Override
  public Map<String, Object> inertFields() {
    return Checks.inert("use_effective_conv2d", false);
  }

  @Override
  public AttachedMethod attach(Config config, ModuleTree modules) {
    return new Attached(
        config,
        Layers.linear(
            modules, config.targetModules(), config.excludeModules(), config.layersToTransform()));
  }

  private record Attached(Config config, List<ModuleSpec> layers) implements WeightMethod {

    private int rank(ModuleSpec layer) {
      return Layers.first(config.rankPattern(), layer.path(), config.r());
    }

    @Override
    public Map<String, List<Integer>> shapes() {
      Map<String, List<Integer>> shapes = new LinkedHashMap<>();
      for (ModuleSpec layer : layers) {
        for (String factor : List.of(".hada_w1_", ".hada_w2_")) {
          shapes.put(layer.path() + factor + "a", List.of(layer.out(), rank(layer)));
          shapes.put(layer.path() + factor + "b", List.of(rank(layer), layer.in()));
        }
      }
      return shapes;
    }

    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      Map<String, float[]> values = new LinkedHashMap<>();
      shapes()
          .forEach(
              (name, shape) -> {
                boolean zero = config.initWeights() && name.endsWith("w2_b");
                Philox random = Philox.of(seed, "loha", Philox.hash(name));
                int size = Layers.size(shape);
                values.put(
                    name, zero ? new float[size] : Layers.kaiming(random, size, shape.get(1)));
              });
      return values;
    }

    @Override
    public NDArray weight(
        ModuleSpec layer, NDArray weight, MethodTensors tensors, Optional<TuningContext> training) {
      if (RankDropout.skips(layer, config.moduleDropout(), training)) {
        return weight;
      }
      double alpha = Layers.first(config.alphaPattern(), layer.path(), config.alpha());
      NDArray product = factor(layer, "1", tensors).mul(factor(layer, "2", tensors)); // [out, in]
      NDArray delta = Scalars.times(product, (float) (alpha / rank(layer)));
      return RankDropout.rows(layer, delta, config.rankDropout(), true, training).add(weight);
    }

    private static NDArray factor(ModuleSpec layer, String which, MethodTensors tensors) {
      String name = layer.path() + ".hada_w" + which;
      return tensors.parameter(name + "_a").matMul(tensors.parameter(name + "_b"));
    }
  }
}
