package org.sparkpeft.core.peft.lora;

import ai.djl.ndarray.NDArray;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.SortedMap;
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
import org.sparkpeft.core.vector.LeadingFactors;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * SVFit (Sun et al. 2024, arXiv 2409.05926): trains the r largest singular values of each weight.
 * With {@code W = U S Vt}: {@code y = W x + U_r (delta * (V_rt x))}, {@code U_r [out, r]} and
 * {@code V_rt [r, in]} frozen, {@code delta [r]} from zero; {@code S_r + delta} may become
 * negative. The paper's form, with the other singular values in a frozen rest, computes the same.
 *
 * <p>Singular vectors are computed once, on the driver, and written to the file: other software
 * would find others where singular values are close. Federated: averaging delta is exact.
 */
public final class SvFit implements PeftMethod<SvFit.Config> {

  /**
   * @param r number of singular values to train, 1..4096 and at most the layers' smaller side
   * @param targetModules linear layers to act on
   * @param layersToTransform layer numbers to act on; empty means all
   * @param modulesToSave modules trained and saved in full
   */
  public record Config(
      int r,
      TargetModules targetModules,
      List<Integer> layersToTransform,
      List<String> modulesToSave)
      implements PeftConfig {
    public Config {
      layersToTransform = List.copyOf(layersToTransform);
      modulesToSave = List.copyOf(modulesToSave);
      LowRank.check(new Problems(), r, 0, "").throwIfAny();
    }

    @Override
    public String peftType() {
      return "SVFIT";
    }
  }

  @Override
  public String peftType() {
    return "SVFIT";
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
    return new Config(16, TargetModules.of("query", "value"), List.of(), List.of("classifier"));
  }

  @Override
  public AttachedMethod attach(Config config, ModuleTree modules) {
    List<ModuleSpec> sites =
        LowRank.linears(modules, config.targetModules(), config.layersToTransform());
    for (ModuleSpec site : sites) {
      int most = Math.min(site.in(), site.out());
      if (config.r() > most) {
        throw new ConfigException(
            "r",
            site.path() + " has " + most + " singular values, got " + config.r() + "; lower \"r\"");
      }
    }
    return new Attached(config, sites);
  }

  private record Attached(Config config, List<ModuleSpec> sites) implements AttachedMethod {

    private static String delta(ModuleSpec site) {
      return site.path() + ".svfit_delta";
    }

    private static String left(ModuleSpec site) {
      return site.path() + ".svfit_U";
    }

    private static String right(ModuleSpec site) {
      return site.path() + ".svfit_Vt";
    }

    @Override
    public Map<String, List<Integer>> shapes() {
      Map<String, List<Integer>> shapes = new LinkedHashMap<>();
      sites.forEach(site -> shapes.put(delta(site), List.of(config.r())));
      return shapes;
    }

    private Map<String, List<Integer>> bases() {
      Map<String, List<Integer>> shapes = new LinkedHashMap<>();
      for (ModuleSpec site : sites) {
        shapes.put(left(site), List.of(site.out(), config.r()));
        shapes.put(right(site), List.of(config.r(), site.in()));
      }
      return shapes;
    }

    @Override
    public TensorRole role(String tensor) {
      return TensorRole.LINEAR;
    }

    @Override
    public MethodState initialState(long seed, BaseWeights base) {
      List<float[]> weights =
          sites.stream().map(site -> base.tensor(site.path() + ".weight")).toList();
      List<LeadingFactors> factors =
          java.util.stream.IntStream.range(0, sites.size())
              .parallel()
              .mapToObj(
                  i ->
                      LeadingFactors.svd(
                          weights.get(i), sites.get(i).out(), sites.get(i).in(), config.r()))
              .toList();
      double[] ones = new double[config.r()];
      Arrays.fill(ones, 1);
      Map<String, float[]> values = new LinkedHashMap<>();
      for (int i = 0; i < sites.size(); i++) {
        values.put(left(sites.get(i)), factors.get(i).left(ones));
        values.put(right(sites.get(i)), factors.get(i).right(ones));
      }
      return state(values);
    }

    private MethodState state(Map<String, float[]> values) {
      MethodState.Builder state = new MethodState.Builder();
      bases()
          .forEach(
              (name, shape) -> state.floats(name, shape, Objects.requireNonNull(values.get(name))));
      return state.build();
    }

    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      Map<String, float[]> values = new LinkedHashMap<>();
      sites.forEach(site -> values.put(delta(site), new float[config.r()]));
      return values;
    }

    @Override
    public List<Modification> modifications(MethodTensors tensors, TuningContext context) {
      List<Modification> modifications = new ArrayList<>();
      for (ModuleSpec site : sites) {
        NDArray u = tensors.state(left(site));
        NDArray v = tensors.state(right(site));
        NDArray delta = tensors.parameter(delta(site));
        modifications.add(
            Modification.parallel(
                site.path(), x -> Linear.of(Linear.of(x, v, null).mul(delta), u, null)));
      }
      return modifications;
    }

    private float[] scaledLeft(ModuleSpec site, ParameterVector parameters, MethodState state) {
      return LowRank.scaledColumns(state.floats(left(site)), parameters.tensor(delta(site)));
    }

    /** {@code W + U_r diag(delta) V_rt}. */
    @Override
    public Map<String, float[]> fuse(
        ParameterVector parameters, MethodState state, BaseWeights base) {
      Map<String, float[]> fused = new LinkedHashMap<>();
      for (ModuleSpec site : sites) {
        float[] b = scaledLeft(site, parameters, state);
        float[] a = state.floats(right(site));
        fused.put(site.path() + ".weight", LowRank.fused(site, base, b, a, 1));
      }
      return fused;
    }

    @Override
    public SortedMap<String, TensorData> save(ParameterVector parameters, MethodState state) {
      SortedMap<String, TensorData> file = AttachedMethod.super.save(parameters, state);
      for (String name : bases().keySet()) {
        String full = AdapterTensors.PREFIX + name;
        file.put(full, state.tensor(name).withName(full));
      }
      return file;
    }

    @Override
    public Loaded load(AdapterTensors file, BaseWeights base) {
      return new Loaded(file.takeAll(shapes()), state(file.takeAll(bases())));
    }

    @Override
    public Optional<AsLora> asLora(ParameterVector parameters, MethodState state) {
      LowRank.LoraFile file = new LowRank.LoraFile();
      for (ModuleSpec site : sites) {
        file.add(site, config.r(), state.floats(right(site)), scaledLeft(site, parameters, state));
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
