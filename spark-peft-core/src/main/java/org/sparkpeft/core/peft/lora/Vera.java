package org.sparkpeft.core.peft.lora;

import ai.djl.ndarray.NDArray;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.nn.Linear;
import org.sparkpeft.core.peft.AdapterTensors;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.BaseWeights;
import org.sparkpeft.core.peft.MethodClass;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.MethodTensors;
import org.sparkpeft.core.peft.Modification;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethod;
import org.sparkpeft.core.peft.TargetModules;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * VeRA (Kopiczko et al. 2023, arXiv 2310.11454): {@code y = W x + lambda_b * (B[:out] (lambda_d *
 * (A[:, :in] x)))} with {@code A [r, most in]} and {@code B [most out, r]} random, frozen and
 * shared by all layers; trained are {@code lambda_d [r]}, which starts as {@code d_initial}, and
 * {@code lambda_b [out]}, which starts as zero.
 *
 * <p>The projections are drawn from {@code projection_prng_key} alone and written to the file,
 * since Hugging Face would draw others. Federated: the product of the two vectors is averaged
 * factor by factor, with common projections.
 */
public final class Vera implements PeftMethod<Vera.Config> {

  /**
   * @param r rank, 1..4096
   * @param targetModules linear layers to act on
   * @param projectionPrngKey seed of the projections
   * @param saveProjection must be true
   * @param veraDropout probability in [0, 1) of dropping an entry of the branch's input in training
   * @param dInitial starting value of lambda_d
   * @param layersToTransform layer numbers to act on; empty means all
   * @param modulesToSave modules trained and saved in full
   */
  public record Config(
      int r,
      TargetModules targetModules,
      long projectionPrngKey,
      boolean saveProjection,
      double veraDropout,
      double dInitial,
      List<Integer> layersToTransform,
      List<String> modulesToSave)
      implements PeftConfig {
    public Config {
      layersToTransform = List.copyOf(layersToTransform);
      modulesToSave = List.copyOf(modulesToSave);
      LowRank.check(new Problems(), r, veraDropout, "vera_dropout")
          .require(
              saveProjection,
              "save_projection",
              false,
              "must be true: other software draws other projections from the same key")
          .require(
              Double.isFinite(dInitial) && dInitial != 0,
              "d_initial",
              dInitial,
              "must be a number other than 0; usual is 0.1")
          .throwIfAny();
    }

    @Override
    public String peftType() {
      return "VERA";
    }
  }

  @Override
  public String peftType() {
    return "VERA";
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

  @Override
  public Config defaults() {
    return new Config(
        256, TargetModules.of("query", "value"), 0, true, 0, 0.1, List.of(), List.of("classifier"));
  }

  @Override
  public Config fileDefaults() {
    Config ours = defaults();
    return new Config(ours.r, ours.targetModules, 0, true, 0, ours.dInitial, List.of(), List.of());
  }

  @Override
  public Map<String, Object> inertFields() {
    Map<String, Object> fields = new TreeMap<>();
    fields.put("bias", "none");
    fields.put("fan_in_fan_out", false);
    fields.put("init_weights", true);
    fields.put("layers_pattern", null);
    return fields;
  }

  @Override
  public AttachedMethod attach(Config config, ModuleTree modules) {
    return new Attached(
        config, LowRank.linears(modules, config.targetModules(), config.layersToTransform()));
  }

  private record Attached(Config config, List<ModuleSpec> sites) implements AttachedMethod {
    private static final String A = "vera_A";
    private static final String B = "vera_B";
    private static final String SHARED = "base_model.";

    private int mostIn() {
      return sites.stream().mapToInt(ModuleSpec::in).max().orElseThrow();
    }

    private int mostOut() {
      return sites.stream().mapToInt(ModuleSpec::out).max().orElseThrow();
    }

    private static String lambdaD(ModuleSpec site) {
      return site.path() + ".vera_lambda_d";
    }

    private static String lambdaB(ModuleSpec site) {
      return site.path() + ".vera_lambda_b";
    }

    @Override
    public Map<String, List<Integer>> shapes() {
      Map<String, List<Integer>> shapes = new LinkedHashMap<>();
      for (ModuleSpec site : sites) {
        shapes.put(lambdaB(site), List.of(site.out()));
        shapes.put(lambdaD(site), List.of(config.r()));
      }
      return shapes;
    }

    private Map<String, List<Integer>> projections() {
      Map<String, List<Integer>> shapes = new LinkedHashMap<>();
      shapes.put(A, List.of(config.r(), mostIn()));
      shapes.put(B, List.of(mostOut(), config.r()));
      return shapes;
    }

    /** Kaiming-uniform with a = 0, whatever the run's seed. */
    @Override
    public MethodState initialState(long seed, BaseWeights base) {
      Philox random = Philox.of(config.projectionPrngKey(), "vera");
      MethodState.Builder state = new MethodState.Builder();
      projections()
          .forEach(
              (name, shape) -> {
                Philox stream = random.child(name.equals(A) ? 0 : 1);
                int size = shape.get(0) * shape.get(1);
                state.floats(name, shape, LowRank.kaiming(stream, size, shape.get(1), 0));
              });
      return state.build();
    }

    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      Map<String, float[]> values = new LinkedHashMap<>();
      for (ModuleSpec site : sites) {
        float[] d = new float[config.r()];
        java.util.Arrays.fill(d, (float) config.dInitial());
        values.put(lambdaD(site), d);
        values.put(lambdaB(site), new float[site.out()]);
      }
      return values;
    }

    @Override
    public List<Modification> modifications(MethodTensors tensors, TuningContext context) {
      NDArray a = tensors.state(A);
      NDArray b = tensors.state(B);
      List<Modification> modifications = new ArrayList<>();
      for (ModuleSpec site : sites) {
        NDArray d = tensors.parameter(lambdaD(site));
        NDArray scale = tensors.parameter(lambdaB(site));
        modifications.add(
            Modification.parallel(
                site.path(),
                x -> {
                  NDArray input = LowRank.dropped(site.path(), x, config.veraDropout(), context);
                  NDArray low = Linear.of(input, leading(a, 1, site.in(), context), null).mul(d);
                  return Linear.of(low, leading(b, 0, site.out(), context), null).mul(scale);
                }));
      }
      return modifications;
    }

    /** The first {@code count} rows or columns, owned by the step. */
    private static NDArray leading(NDArray matrix, int axis, int count, TuningContext context) {
      if (matrix.getShape().get(axis) == count) {
        return matrix;
      }
      NDArray part = matrix.get(axis == 0 ? ":" + count : ":, :" + count);
      part.attach(context.manager());
      return part;
    }

    /** {@code lambda_d * A[:, :in]}. */
    private float[] factorA(ModuleSpec site, ParameterVector parameters, MethodState state) {
      float[] shared = state.floats(A);
      int width = mostIn();
      float[] part = new float[config.r() * site.in()];
      for (int q = 0; q < config.r(); q++) {
        System.arraycopy(shared, q * width, part, q * site.in(), site.in());
      }
      return LowRank.scaledRows(part, parameters.tensor(lambdaD(site)));
    }

    /** {@code lambda_b * B[:out]}. */
    private float[] factorB(ModuleSpec site, ParameterVector parameters, MethodState state) {
      float[] part = java.util.Arrays.copyOf(state.floats(B), site.out() * config.r());
      return LowRank.scaledRows(part, parameters.tensor(lambdaB(site)));
    }

    /** {@code W + (lambda_b * B)(lambda_d * A)}. */
    @Override
    public Map<String, float[]> fuse(
        ParameterVector parameters, MethodState state, BaseWeights base) {
      Map<String, float[]> fused = new LinkedHashMap<>();
      for (ModuleSpec site : sites) {
        float[] b = factorB(site, parameters, state);
        float[] a = factorA(site, parameters, state);
        fused.put(site.path() + ".weight", LowRank.fused(site, base, b, a, 1));
      }
      return fused;
    }

    @Override
    public SortedMap<String, TensorData> save(ParameterVector parameters, MethodState state) {
      SortedMap<String, TensorData> file = AttachedMethod.super.save(parameters, state);
      for (String name : projections().keySet()) {
        file.put(SHARED + name, state.tensor(name).withName(SHARED + name));
      }
      return file;
    }

    @Override
    public Loaded load(AdapterTensors file, BaseWeights base) {
      MethodState.Builder state = new MethodState.Builder();
      Map<String, List<Integer>> shapes = projections();
      file.takeAll(SHARED, shapes)
          .forEach(
              (name, values) ->
                  state.floats(name, java.util.Objects.requireNonNull(shapes.get(name)), values));
      return new Loaded(file.takeAll(shapes()), state.build());
    }

    @Override
    public Optional<AsLora> asLora(ParameterVector parameters, MethodState state) {
      LowRank.LoraFile file = new LowRank.LoraFile();
      for (ModuleSpec site : sites) {
        file.add(
            site, config.r(), factorA(site, parameters, state), factorB(site, parameters, state));
      }
      return Optional.of(
          file.build(
              config.r(),
              1,
              config.targetModules(),
              config.layersToTransform(),
              config.modulesToSave()));
    }
  }
}
