package org.sparkpeft.core.peft.lora;

import ai.djl.ndarray.NDArray;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.SortedMap;
import org.sparkpeft.core.engine.Scalars;
import org.sparkpeft.core.error.ConfigException;
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
import org.sparkpeft.core.peft.TensorRole;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * FLoRA, low-rank core spaces (Si et al. 2024, arXiv 2405.14739), for weights of two axes: {@code y
 * = W x + s P1 Gt P0t x} with {@code P0 [in, r]}, {@code G [r, r_out]} and {@code P1 [out, r_out]};
 * G starts as zero, the others normal with deviation {@code 1 / sqrt(2 r)}. The scale s is not
 * divided by the rank. Unrelated to FLoRA, the federated stacking of LoRA factors.
 *
 * <p>Federated: averages of three factors are not the average of their product; with {@code
 * freeze_factors}, where G alone is trained, they are.
 */
public final class TuckerFlora implements PeftMethod<TuckerFlora.Config> {

  /**
   * @param r rank on the input's side, 1..4096
   * @param rOut rank on the output's side, likewise
   * @param scale s, above 0
   * @param floraDropout probability in [0, 1) of dropping an entry of the branch's input in
   *     training
   * @param freezeFactors train G alone, between random P0 and P1
   * @param targetModules linear layers to act on
   * @param layersToTransform layer numbers to act on; empty means all
   * @param modulesToSave modules trained and saved in full
   */
  public record Config(
      int r,
      int rOut,
      double scale,
      double floraDropout,
      boolean freezeFactors,
      TargetModules targetModules,
      List<Integer> layersToTransform,
      List<String> modulesToSave)
      implements PeftConfig {
    public Config {
      layersToTransform = List.copyOf(layersToTransform);
      modulesToSave = List.copyOf(modulesToSave);
      LowRank.check(new Problems(), r, floraDropout, "flora_dropout")
          .require(rOut >= 1 && rOut <= 4096, "r_out", rOut, "the rank must be 1..4096")
          .require(
              scale > 0 && Double.isFinite(scale), "scale", scale, "must be above 0; usual is 4")
          .throwIfAny();
    }

    @Override
    public String peftType() {
      return "TUCKER_FLORA";
    }
  }

  @Override
  public String peftType() {
    return "TUCKER_FLORA";
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
    return new Config(
        8, 8, 4, 0, false, TargetModules.of("query", "value"), List.of(), List.of("classifier"));
  }

  @Override
  public AttachedMethod attach(Config config, ModuleTree modules) {
    List<ModuleSpec> sites =
        LowRank.linears(modules, config.targetModules(), config.layersToTransform());
    for (ModuleSpec site : sites) {
      if (config.r() > site.in() || config.rOut() > site.out()) {
        throw new ConfigException(
            config.r() > site.in() ? "r" : "r_out",
            site.path()
                + " has "
                + site.in()
                + " inputs and "
                + site.out()
                + " outputs, got ranks "
                + config.r()
                + " and "
                + config.rOut()
                + "; lower them");
      }
    }
    return new Attached(config, sites);
  }

  private record Attached(Config config, List<ModuleSpec> sites) implements AttachedMethod {

    private static String input(ModuleSpec site) {
      return site.path() + ".flora_P0";
    }

    private static String core(ModuleSpec site) {
      return site.path() + ".flora_G";
    }

    private static String output(ModuleSpec site) {
      return site.path() + ".flora_P1";
    }

    private Map<String, List<Integer>> outer() {
      Map<String, List<Integer>> shapes = new LinkedHashMap<>();
      for (ModuleSpec site : sites) {
        shapes.put(input(site), List.of(site.in(), config.r()));
        shapes.put(output(site), List.of(site.out(), config.rOut()));
      }
      return shapes;
    }

    @Override
    public Map<String, List<Integer>> shapes() {
      Map<String, List<Integer>> shapes = new LinkedHashMap<>();
      sites.forEach(site -> shapes.put(core(site), List.of(config.r(), config.rOut())));
      if (!config.freezeFactors()) {
        shapes.putAll(outer());
      }
      return shapes;
    }

    @Override
    public TensorRole role(String tensor) {
      return config.freezeFactors() ? TensorRole.LINEAR : TensorRole.FACTOR;
    }

    private Map<String, float[]> outerValues(long seed) {
      Map<String, float[]> values = new LinkedHashMap<>();
      outer()
          .forEach(
              (name, shape) -> {
                Philox random = Philox.of(seed, "flora", Philox.hash(name));
                double deviation = 1 / Math.sqrt(2.0 * shape.get(1));
                values.put(name, random.gaussian(shape.get(0) * shape.get(1), deviation));
              });
      return values;
    }

    private MethodState frozen(Map<String, float[]> values) {
      MethodState.Builder state = new MethodState.Builder();
      outer()
          .forEach(
              (name, shape) -> state.floats(name, shape, Objects.requireNonNull(values.get(name))));
      return state.build();
    }

    @Override
    public MethodState initialState(long seed, BaseWeights base) {
      return config.freezeFactors() ? frozen(outerValues(seed)) : MethodState.EMPTY;
    }

    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      Map<String, float[]> values = new LinkedHashMap<>();
      sites.forEach(site -> values.put(core(site), new float[config.r() * config.rOut()]));
      if (!config.freezeFactors()) {
        values.putAll(outerValues(seed));
      }
      return values;
    }

    @Override
    public List<Modification> modifications(MethodTensors tensors, TuningContext context) {
      List<Modification> modifications = new ArrayList<>();
      for (ModuleSpec site : sites) {
        NDArray core = tensors.parameter(core(site));
        NDArray p0 = outer(tensors, input(site));
        NDArray p1 = outer(tensors, output(site));
        modifications.add(
            Modification.parallel(
                site.path(),
                x -> {
                  NDArray kept = LowRank.dropped(site.path(), x, config.floraDropout(), context);
                  NDArray low = Scalars.times(kept.matMul(p0), (float) config.scale());
                  return Linear.of(low.matMul(core), p1, null);
                }));
      }
      return modifications;
    }

    private NDArray outer(MethodTensors tensors, String name) {
      return config.freezeFactors() ? tensors.state(name) : tensors.parameter(name);
    }

    private float[] outer(String name, ParameterVector parameters, MethodState state) {
      return config.freezeFactors() ? state.floats(name) : parameters.tensor(name);
    }

    /** {@code P0t [r, in]}. */
    private float[] factorA(ModuleSpec site, ParameterVector parameters, MethodState state) {
      return LowRank.transposed(outer(input(site), parameters, state), site.in());
    }

    /** {@code P1 Gt [out, r]}. */
    private float[] factorB(ModuleSpec site, ParameterVector parameters, MethodState state) {
      float[] core = LowRank.transposed(parameters.tensor(core(site)), config.r());
      return LowRank.product(outer(output(site), parameters, state), core, site.out(), config.r());
    }

    /** {@code W + s P1 Gt P0t}. */
    @Override
    public Map<String, float[]> fuse(
        ParameterVector parameters, MethodState state, BaseWeights base) {
      Map<String, float[]> fused = new LinkedHashMap<>();
      for (ModuleSpec site : sites) {
        float[] b = factorB(site, parameters, state);
        float[] a = factorA(site, parameters, state);
        fused.put(site.path() + ".weight", LowRank.fused(site, base, b, a, config.scale()));
      }
      return fused;
    }

    @Override
    public SortedMap<String, TensorData> save(ParameterVector parameters, MethodState state) {
      SortedMap<String, TensorData> file = AttachedMethod.super.save(parameters, state);
      state
          .tensors()
          .forEach(
              (name, tensor) -> {
                String full = AdapterTensors.PREFIX + name;
                file.put(full, tensor.withName(full));
              });
      return file;
    }

    @Override
    public Loaded load(AdapterTensors file, BaseWeights base) {
      return new Loaded(
          file.takeAll(shapes()),
          config.freezeFactors() ? frozen(file.takeAll(outer())) : MethodState.EMPTY);
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
              config.scale(),
              config.targetModules(),
              config.layersToTransform(),
              config.modulesToSave()));
    }
  }
}
