package org.sparkpeft.core.peft.reparam;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.index.NDIndex;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.core.engine.Scalars;
import org.sparkpeft.core.error.FormatException;
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
 * RandLoRA, full-rank changes from random bases (Albert et al. 2025, arXiv 2502.00987): {@code W +
 * (alpha / r) B (l * A * g)} over n = ceil(min(in, out) / r) bases, with frozen {@code A [r, 1, m]}
 * and {@code B [M, n, r]} shared by all layers (m and M the largest smaller and larger side), and
 * trained {@code l [r, n]} and {@code g [n, min]}. Where a layer has fewer outputs than inputs, the
 * change is transposed. Starts as the base, because l is zero.
 *
 * <p>As in Hugging Face, row {@code i n + j} of the flattened {@code l * A * g} meets column {@code
 * j r + i} of B at the same place in the order, not the same basis. Averages of l and g are not
 * averages of weights.
 */
public final class RandLora implements PeftMethod<RandLora.Config> {
  /** The bases' names, here and in files, where they stand once for each layer and once on top. */
  private static final String A = "randlora_A";

  private static final String B = "randlora_B";
  private static final String TOP = "base_model.";

  /**
   * The settings, under Hugging Face's names.
   *
   * @param r rank of a basis
   * @param targetModules linear layers acted on
   * @param projectionPrngKey seed of the bases, which are those that PyTorch draws
   * @param saveProjection whether files hold the bases
   * @param sparse bases of -1, 0 and 1, two thirds of them 0
   * @param verySparse bases of -1, 0 and 1, all but one in sqrt(m) of them 0
   * @param randloraDropout probability of dropping an entry of the branch's input while training
   * @param randloraAlpha numerator of the scaling alpha / r
   * @param bias {@code none}, or {@code randlora_only} to train the layers' biases
   * @param modulesToSave modules trained in full
   * @param initWeights false starts with l from N(0, 1), so the output changes at once
   * @param layersToTransform layer numbers; empty means all
   */
  public record Config(
      int r,
      TargetModules targetModules,
      long projectionPrngKey,
      boolean saveProjection,
      boolean sparse,
      boolean verySparse,
      double randloraDropout,
      double randloraAlpha,
      String bias,
      List<String> modulesToSave,
      boolean initWeights,
      List<Integer> layersToTransform)
      implements PeftConfig {

    public Config {
      modulesToSave = List.copyOf(modulesToSave);
      layersToTransform = List.copyOf(layersToTransform);
      Problems problems = new Problems();
      Checks.rank(problems, r);
      Checks.probability(problems, "randlora_dropout", randloraDropout);
      Checks.positive(problems, "randlora_alpha", randloraAlpha);
      Checks.bias(problems, bias);
      Checks.layers(problems, layersToTransform);
      problems.throwIfAny();
    }

    @Override
    public String peftType() {
      return "RANDLORA";
    }
  }

  private static Config config(List<String> modulesToSave) {
    return new Config(
        32,
        TargetModules.of("query", "value"),
        0,
        true,
        false,
        false,
        0,
        640,
        "none",
        modulesToSave,
        true,
        List.of());
  }

  @Override
  public String peftType() {
    return "RANDLORA";
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
    return 0.3;
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
    return Checks.inert("fan_in_fan_out", false);
  }

  @Override
  public AttachedMethod attach(Config config, ModuleTree modules) {
    List<ModuleSpec> layers =
        Layers.linear(modules, config.targetModules(), List.of(), config.layersToTransform());
    return TrainedBiases.of(config.bias(), new Attached(config, layers), layers);
  }

  private record Attached(Config config, List<ModuleSpec> layers) implements LowRankMethod {

    private int bases(int smallerSide) {
      return (smallerSide + config.r() - 1) / config.r();
    }

    private static int smaller(ModuleSpec layer) {
      return Math.min(layer.in(), layer.out());
    }

    private static int larger(ModuleSpec layer) {
      return Math.max(layer.in(), layer.out());
    }

    private RandomBases.Sides sides() {
      int in = layers.stream().mapToInt(ModuleSpec::in).max().orElseThrow();
      int out = layers.stream().mapToInt(ModuleSpec::out).max().orElseThrow();
      return new RandomBases.Sides(Math.min(in, out), Math.max(in, out), config.r());
    }

    @Override
    public Map<String, List<Integer>> shapes() {
      Map<String, List<Integer>> shapes = new LinkedHashMap<>();
      for (ModuleSpec layer : layers) {
        int bases = bases(smaller(layer));
        shapes.put(layer.path() + ".randlora_lambda", List.of(config.r(), bases));
        shapes.put(layer.path() + ".randlora_gamma", List.of(bases, smaller(layer)));
      }
      return shapes;
    }

    @Override
    public MethodState initialState(long seed, BaseWeights base) {
      RandomBases made =
          RandomBases.ofSeed(
              sides(), config.projectionPrngKey(), config.sparse(), config.verySparse());
      return new MethodState.Builder()
          .floats(A, sides().shapeA(), made.a())
          .floats(B, sides().shapeB(), made.b())
          .build();
    }

    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      Map<String, float[]> values = new LinkedHashMap<>();
      for (ModuleSpec layer : layers) {
        int bases = bases(smaller(layer));
        Philox random = Philox.of(seed, "randlora", Philox.hash(layer.path()));
        int size = config.r() * bases;
        values.put(
            layer.path() + ".randlora_lambda",
            config.initWeights() ? new float[size] : random.gaussian(size, 1));
        int side = config.initWeights() ? Math.max(bases, smaller(layer)) : larger(layer);
        values.put(
            layer.path() + ".randlora_gamma", Layers.filled(bases * smaller(layer), 1.0f / side));
      }
      return values;
    }

    @Override
    public double dropout() {
      return config.randloraDropout();
    }

    @Override
    public Factors factors(ModuleSpec layer, MethodTensors tensors) {
      int r = config.r();
      int bases = bases(smaller(layer));
      NDArray lambda = tensors.parameter(layer.path() + ".randlora_lambda");
      NDArray gamma = tensors.parameter(layer.path() + ".randlora_gamma");
      NDManager step = lambda.getManager();
      NDArray a = inStep(step, tensors.state(A).get(new NDIndex(":, :, :" + smaller(layer))));
      NDArray b =
          inStep(
              step, tensors.state(B).get(new NDIndex(":" + larger(layer) + ", :" + bases + ", :")));
      NDArray scaled =
          Scalars.times(lambda, (float) (config.randloraAlpha() / r)).reshape(r, bases, 1);
      NDArray changing = scaled.mul(a).mul(gamma).reshape((long) r * bases, smaller(layer));
      NDArray frozen = b.reshape(larger(layer), (long) bases * r);
      return smaller(layer) == layer.in()
          ? new Factors(changing, frozen)
          : new Factors(frozen.transpose(), changing.transpose());
    }

    private static NDArray inStep(NDManager step, NDArray view) {
      view.attach(step);
      return view;
    }

    @Override
    public SortedMap<String, TensorData> save(ParameterVector parameters, MethodState state) {
      Map<String, TensorData> file = new TreeMap<>(LowRankMethod.super.save(parameters, state));
      if (config.saveProjection()) {
        for (String basis : List.of(A, B)) {
          for (String place : places()) {
            file.put(place + basis, state.tensor(basis).withName(place + basis));
          }
        }
      }
      return TensorData.byName(file.values());
    }

    /** What stands before the bases' names in a file. */
    private List<String> places() {
      List<String> places = new java.util.ArrayList<>();
      places.add(TOP);
      layers.forEach(layer -> places.add(AdapterTensors.PREFIX + layer.path() + "."));
      return places;
    }

    @Override
    public Loaded load(AdapterTensors file, BaseWeights base) {
      MethodState.Builder state = new MethodState.Builder();
      boolean saved =
          places().stream().anyMatch(place -> file.has(place + A) || file.has(place + B));
      if (!saved) {
        return new Loaded(file.takeAll(shapes()), initialState(0, base));
      }
      state.floats(A, sides().shapeA(), basis(file, A, sides().shapeA()));
      state.floats(B, sides().shapeB(), basis(file, B, sides().shapeB()));
      return new Loaded(file.takeAll(shapes()), state.build());
    }

    /** One of the copies; all must be the same. */
    private float[] basis(AdapterTensors file, String name, List<Integer> shape) {
      float[] basis = new float[0];
      for (String place : places()) {
        if (file.has(place + name)) {
          float[] copy = file.take(place + name, shape).toFloats();
          if (basis.length > 0 && !java.util.Arrays.equals(basis, copy)) {
            throw new FormatException(
                file.source(), place + name + " differs from the basis of other layers");
          }
          basis = copy;
        }
      }
      if (basis.length == 0) {
        throw new FormatException(file.source(), "lacks the basis " + TOP + name);
      }
      return basis;
    }
  }
}
