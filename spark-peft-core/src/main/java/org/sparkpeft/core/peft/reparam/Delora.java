package org.sparkpeft.core.peft.reparam;

import ai.djl.ndarray.NDArray;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.peft.AdapterTensors;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.BaseWeights;
import org.sparkpeft.core.peft.MethodClass;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.MethodTensors;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethod;
import org.sparkpeft.core.peft.TargetModules;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * DeLoRA, low-rank changes of bounded strength (Bini et al. 2025, arXiv 2503.18225): {@code W + (l
 * / r) sum_i b_i a_it / (|a_i| |b_i|) diag(n)} with trained {@code A [r, in]}, {@code B [out, r]}
 * and strength {@code l [1]}, lengths at least 1e-4, and n {@code [in]} the lengths of W's columns
 * as they were at the start, which is frozen and saved. Starts as the base, because B is zero. The
 * authors multiply by the Frobenius norm of W; column norms are Hugging Face's. Averages of factors
 * are not averages of weights.
 */
public final class Delora implements PeftMethod<Delora.Config> {
  private static final float SHORTEST = 1e-4f;

  /**
   * The settings, under Hugging Face's names.
   *
   * @param r rank
   * @param deloraLambda strength l at the start
   * @param moduleDropout probability of dropping an entry of the branch's input while training
   * @param targetModules linear layers acted on
   * @param excludeModules names to leave out
   * @param bias {@code none}, or {@code delora_only} to train the layers' biases
   * @param initWeights false starts with B random, so the output changes at once
   * @param layersToTransform layer numbers; empty means all
   * @param rankPattern rank by pattern of module names
   * @param lambdaPattern strength by pattern of module names
   * @param modulesToSave modules trained in full
   */
  public record Config(
      int r,
      double deloraLambda,
      double moduleDropout,
      TargetModules targetModules,
      List<String> excludeModules,
      String bias,
      boolean initWeights,
      List<Integer> layersToTransform,
      Map<String, Integer> rankPattern,
      Map<String, Double> lambdaPattern,
      List<String> modulesToSave)
      implements PeftConfig {

    public Config {
      excludeModules = List.copyOf(excludeModules);
      layersToTransform = List.copyOf(layersToTransform);
      rankPattern = Checks.ordered(rankPattern);
      lambdaPattern = Checks.ordered(lambdaPattern);
      modulesToSave = List.copyOf(modulesToSave);
      Problems problems = new Problems();
      Checks.rank(problems, r);
      Checks.positive(problems, "delora_lambda", deloraLambda);
      Checks.probability(problems, "module_dropout", moduleDropout);
      Checks.bias(problems, bias);
      Checks.layers(problems, layersToTransform);
      Checks.wholePatterns(problems, "rank_pattern", rankPattern, Checks.MAX_RANK);
      Checks.positivePatterns(problems, "lambda_pattern", lambdaPattern);
      problems.throwIfAny();
    }

    @Override
    public String peftType() {
      return "DELORA";
    }
  }

  private static Config config(List<String> modulesToSave) {
    return new Config(
        8,
        15,
        0,
        TargetModules.of("query", "value"),
        List.of(),
        "none",
        true,
        List.of(),
        Map.of(),
        Map.of(),
        modulesToSave);
  }

  @Override
  public String peftType() {
    return "DELORA";
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

  @Override
  public Map<String, Object> inertFields() {
    return Checks.inert();
  }

  @Override
  public AttachedMethod attach(Config config, ModuleTree modules) {
    List<ModuleSpec> layers =
        Layers.linear(
            modules, config.targetModules(), config.excludeModules(), config.layersToTransform());
    return TrainedBiases.of(config.bias(), new Attached(config, layers), layers);
  }

  private record Attached(Config config, List<ModuleSpec> layers) implements LowRankMethod {

    private int rank(ModuleSpec layer) {
      return Layers.first(config.rankPattern(), layer.path(), config.r());
    }

    private static String norms(ModuleSpec layer) {
      return layer.path() + ".delora_w_norm";
    }

    @Override
    public Map<String, List<Integer>> shapes() {
      Map<String, List<Integer>> shapes = new LinkedHashMap<>();
      for (ModuleSpec layer : layers) {
        shapes.put(layer.path() + ".delora_A", List.of(rank(layer), layer.in()));
        shapes.put(layer.path() + ".delora_B", List.of(layer.out(), rank(layer)));
        shapes.put(layer.path() + ".delora_lambda", List.of(1));
      }
      return shapes;
    }

    @Override
    public MethodState initialState(long seed, BaseWeights base) {
      MethodState.Builder state = new MethodState.Builder();
      layers.forEach(
          layer -> state.floats(norms(layer), List.of(layer.in()), columnNorms(layer, base)));
      return state.build();
    }

    private static float[] columnNorms(ModuleSpec layer, BaseWeights base) {
      float[] weight = base.tensor(layer.path() + ".weight");
      float[] norms = new float[layer.in()];
      for (int column = 0; column < layer.in(); column++) {
        double squares = 0;
        for (int row = 0; row < layer.out(); row++) {
          double entry = weight[row * layer.in() + column];
          squares += entry * entry;
        }
        norms[column] = (float) Math.sqrt(squares);
      }
      return norms;
    }

    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      Map<String, float[]> values = new LinkedHashMap<>();
      for (ModuleSpec layer : layers) {
        Philox random = Philox.of(seed, "delora", Philox.hash(layer.path()));
        int r = rank(layer);
        values.put(
            layer.path() + ".delora_A",
            Layers.kaiming(random.child(0), r * layer.in(), layer.in()));
        values.put(
            layer.path() + ".delora_B",
            config.initWeights()
                ? new float[r * layer.out()]
                : Layers.kaiming(random.child(1), r * layer.out(), r));
        double strength = Layers.first(config.lambdaPattern(), layer.path(), config.deloraLambda());
        values.put(layer.path() + ".delora_lambda", new float[] {(float) strength});
      }
      return values;
    }

    @Override
    public double dropout() {
      return config.moduleDropout();
    }

    @Override
    public Factors factors(ModuleSpec layer, MethodTensors tensors) {
      NDArray a = tensors.parameter(layer.path() + ".delora_A");
      NDArray b = tensors.parameter(layer.path() + ".delora_B");
      NDArray strength = tensors.parameter(layer.path() + ".delora_lambda");
      NDArray lengths =
          length(a, 1)
              .reshape(1, rank(layer))
              .mul(length(b, 0))
              .mul(a.getManager().create((float) rank(layer)));
      NDArray scaled = b.mul(strength.div(lengths)); // [out, r]
      return new Factors(a.mul(tensors.state(norms(layer))), scaled);
    }

    /** Lengths along an axis, at least {@link #SHORTEST}, where the gradient is zero. */
    private static NDArray length(NDArray matrix, int axis) {
      NDArray squares = matrix.mul(matrix).sum(new int[] {axis}, true);
      return squares.maximum(matrix.getManager().create(SHORTEST * SHORTEST)).sqrt();
    }

    @Override
    public SortedMap<String, TensorData> save(ParameterVector parameters, MethodState state) {
      Map<String, TensorData> file = new TreeMap<>(LowRankMethod.super.save(parameters, state));
      for (ModuleSpec layer : layers) {
        String name = AdapterTensors.PREFIX + norms(layer);
        file.put(name, state.tensor(norms(layer)).withName(name));
      }
      return TensorData.byName(file.values());
    }

    @Override
    public Loaded load(AdapterTensors file, BaseWeights base) {
      MethodState.Builder state = new MethodState.Builder();
      for (ModuleSpec layer : layers) {
        String name = AdapterTensors.PREFIX + norms(layer);
        List<Integer> shape = List.of(layer.in());
        state.floats(
            norms(layer),
            shape,
            file.has(name) ? file.take(name, shape).toFloats() : columnNorms(layer, base));
      }
      return new Loaded(file.takeAll(shapes()), state.build());
    }
  }
}
