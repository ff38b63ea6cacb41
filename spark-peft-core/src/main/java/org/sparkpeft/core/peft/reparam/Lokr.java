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
 * LoKr, a Kronecker product (Yeh et al. 2023, LyCORIS, arXiv 2309.14859; Edalati et al. 2022,
 * KronA, arXiv 2212.10650): {@code W + (alpha / r) C (x) D} with {@code C [o1, i1]}, {@code D [o2,
 * i2]}, {@code out = o1 o2}, {@code in = i1 i2}, the smaller factor first. D is a product of rank r
 * where r is below half its larger side; C too with {@code decompose_both}. Starts as the base,
 * because C is zero. Averages of factors are not averages of weights.
 */
public final class Lokr implements PeftMethod<Lokr.Config> {

  /**
   * The settings, under Hugging Face's names.
   *
   * @param r rank of a factor that is a product
   * @param alpha numerator of the scaling alpha / r
   * @param rankDropout probability of leaving out a row of the change while training
   * @param moduleDropout probability of leaving out a layer's change while training
   * @param decomposeBoth whether the first factor may be a product too
   * @param decomposeFactor size wanted for the smaller factor's sides; -1 for near the square root
   * @param rankDropoutScale whether the rows that stay grow to make up for those dropped
   * @param targetModules linear layers acted on
   * @param excludeModules names to leave out
   * @param initWeights {@code true} (first factor zero), {@code lycoris} (second factor zero) or
   *     {@code false} (none zero: the output changes at once)
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
      boolean decomposeBoth,
      int decomposeFactor,
      boolean rankDropoutScale,
      TargetModules targetModules,
      List<String> excludeModules,
      String initWeights,
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
      problems.require(
          decomposeFactor == -1 || decomposeFactor >= 1,
          "decompose_factor",
          decomposeFactor,
          "must be -1, for near the square root, or at least 1");
      Checks.oneOf(problems, "init_weights", initWeights, List.of("true", "false", "lycoris"));
      Checks.wholePatterns(problems, "rank_pattern", rankPattern, Checks.MAX_RANK);
      Checks.positivePatterns(problems, "alpha_pattern", alphaPattern);
      Checks.layers(problems, layersToTransform);
      problems.throwIfAny();
    }

    @Override
    public String peftType() {
      return "LOKR";
    }
  }

  private static Config config(List<String> modulesToSave) {
    return new Config(
        8,
        8,
        0,
        0,
        false,
        -1,
        false,
        TargetModules.of("query", "value"),
        List.of(),
        "true",
        Map.of(),
        Map.of(),
        List.of(),
        modulesToSave);
  }

  @Override
  public String peftType() {
    return "LOKR";
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

  /** Two factors of a size, the smaller first; with a wish that divides it, the wish first. */
  record Factors(int first, int second) {
    /**
     * Divisors grow as long as their sum shrinks and the first does not exceed the wish.
     *
     * @param wish size of the first factor, or -1
     */
    static Factors of(int size, int wish) {
      if (wish > 0 && size % wish == 0) {
        return new Factors(wish, size / wish);
      }
      int limit = wish == -1 ? size : wish;
      int best = 1;
      for (int divisor = 2; divisor <= limit && divisor <= size / best; divisor++) {
        if (size % divisor == 0) {
          if (divisor + size / divisor > best + size / best) {
            break;
          }
          best = divisor;
        }
      }
      return new Factors(Math.min(best, size / best), Math.max(best, size / best));
    }
  }

  private record Attached(Config config, List<ModuleSpec> layers) implements WeightMethod {

    private int rank(ModuleSpec layer) {
      return Layers.first(config.rankPattern(), layer.path(), config.r());
    }

    @Override
    public Map<String, List<Integer>> shapes() {
      Map<String, List<Integer>> shapes = new LinkedHashMap<>();
      for (ModuleSpec layer : layers) {
        Factors out = Factors.of(layer.out(), config.decomposeFactor());
        Factors in = Factors.of(layer.in(), config.decomposeFactor());
        boolean product = config.decomposeBoth() && isProduct(layer, out.first(), in.first());
        put(shapes, layer, ".lokr_w1", out.first(), in.first(), product);
        product = isProduct(layer, out.second(), in.second());
        put(shapes, layer, ".lokr_w2", out.second(), in.second(), product);
      }
      return shapes;
    }

    private boolean isProduct(ModuleSpec layer, int rows, int columns) {
      return 2 * rank(layer) < Math.max(rows, columns);
    }

    private void put(
        Map<String, List<Integer>> shapes,
        ModuleSpec layer,
        String factor,
        int rows,
        int columns,
        boolean product) {
      String name = layer.path() + factor;
      if (product) {
        shapes.put(name + "_a", List.of(rows, rank(layer)));
        shapes.put(name + "_b", List.of(rank(layer), columns));
      } else {
        shapes.put(name, List.of(rows, columns));
      }
    }

    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      Map<String, float[]> values = new LinkedHashMap<>();
      shapes()
          .forEach(
              (name, shape) -> {
                int size = Layers.size(shape);
                Philox random = Philox.of(seed, "lokr", Philox.hash(name));
                values.put(
                    name,
                    startsZero(name)
                        ? new float[size]
                        : Layers.kaiming(random, size, shape.get(1)));
              });
      return values;
    }

    private boolean startsZero(String name) {
      return switch (config.initWeights()) {
        case "true" -> name.endsWith("_w1") || name.endsWith("_w1_a");
        case "lycoris" -> name.endsWith("_w2") || name.endsWith("_w2_b");
        default -> false;
      };
    }

    @Override
    public NDArray weight(
        ModuleSpec layer, NDArray weight, MethodTensors tensors, Optional<TuningContext> training) {
      if (RankDropout.skips(layer, config.moduleDropout(), training)) {
        return weight;
      }
      double alpha = Layers.first(config.alphaPattern(), layer.path(), config.alpha());
      NDArray first = factor(layer.path() + ".lokr_w1", tensors);
      NDArray second = factor(layer.path() + ".lokr_w2", tensors);
      NDArray scaled = Scalars.times(first, (float) (alpha / rank(layer)));
      NDArray delta = kronecker(scaled, second);
      return RankDropout.rows(
              layer, delta, config.rankDropout(), config.rankDropoutScale(), training)
          .add(weight);
    }

    private NDArray factor(String name, MethodTensors tensors) {
      return shapes().containsKey(name)
          ? tensors.parameter(name)
          : tensors.parameter(name + "_a").matMul(tensors.parameter(name + "_b"));
    }

    private static NDArray kronecker(NDArray a, NDArray b) {
      long rows = a.getShape().get(0);
      long columns = a.getShape().get(1);
      NDArray blocks =
          a.reshape(rows, 1, columns, 1)
              .mul(b.reshape(1, b.getShape().get(0), 1, b.getShape().get(1)));
      return blocks.reshape(rows * b.getShape().get(0), columns * b.getShape().get(1));
    }
  }
}
