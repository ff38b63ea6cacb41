package org.sparkpeft.tests.peft;

import ai.djl.ndarray.NDArray;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.SortedMap;
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
import org.sparkpeft.core.peft.Modification;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethod;
import org.sparkpeft.core.peft.RoundDecision;
import org.sparkpeft.core.peft.StepObserver;
import org.sparkpeft.core.peft.TargetModules;
import org.sparkpeft.core.peft.TargetSelection;
import org.sparkpeft.core.peft.TensorRole;
import org.sparkpeft.core.peft.TrainingSpan;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * A method from outside, in one file: {@code y = W x + b + shared + own}, where {@code shared
 * [out]} is averaged and {@code own [out]} stays with each client. Its observer counts updates;
 * from what all clients report, the driver keeps the number of updates so far in the state.
 */
public final class EchoMethod implements PeftMethod<EchoMethod.Config> {
  static final String UPDATES = "echo_updates";

  /**
   * @param targetModules linear layers to act on
   * @param strength factor on the learning rate of {@code own}
   * @param modulesToSave modules trained in full
   */
  public record Config(TargetModules targetModules, double strength, List<String> modulesToSave)
      implements PeftConfig {
    public Config {
      modulesToSave = List.copyOf(modulesToSave);
      new Problems().require(strength > 0, "strength", strength, "must be above 0").throwIfAny();
    }

    @Override
    public String peftType() {
      return "ECHO";
    }
  }

  @Override
  public String peftType() {
    return "ECHO";
  }

  @Override
  public Class<Config> configType() {
    return Config.class;
  }

  @Override
  public MethodClass methodClass() {
    return MethodClass.ADDITIVE;
  }

  @Override
  public Config defaults() {
    return new Config(TargetModules.of("value"), 1, List.of("classifier"));
  }

  @Override
  public AttachedMethod attach(Config config, ModuleTree modules) {
    return new Attached(
        config,
        TargetSelection.select(
            modules, config.targetModules(), List.of(), List.of(), Set.of(ModuleSpec.Kind.LINEAR)));
  }

  private record Attached(Config config, List<ModuleSpec> sites) implements AttachedMethod {
    private static String shared(ModuleSpec site) {
      return site.path() + ".echo_shared";
    }

    private static String own(ModuleSpec site) {
      return site.path() + ".echo_own";
    }

    @Override
    public Map<String, List<Integer>> shapes() {
      Map<String, List<Integer>> shapes = new LinkedHashMap<>();
      sites.forEach(site -> shapes.put(shared(site), List.of(site.out())));
      sites.forEach(site -> shapes.put(own(site), List.of(site.out())));
      return shapes;
    }

    @Override
    public MethodState initialState(long seed, BaseWeights base) {
      return updates(0);
    }

    private static MethodState updates(int count) {
      return new MethodState.Builder().integers(UPDATES, List.of(1), new int[] {count}).build();
    }

    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      Map<String, float[]> values = new LinkedHashMap<>();
      shapes().forEach((name, shape) -> values.put(name, new float[shape.get(0)]));
      return values;
    }

    @Override
    public List<Modification> modifications(MethodTensors tensors, TuningContext context) {
      List<Modification> modifications = new ArrayList<>();
      for (ModuleSpec site : sites) {
        NDArray sum = tensors.parameter(shared(site)).add(tensors.parameter(own(site)));
        modifications.add(Modification.sequential(site.path(), h -> h.add(sum)));
      }
      return modifications;
    }

    @Override
    public TensorRole role(String tensor) {
      return tensor.endsWith(".echo_own")
          ? TensorRole.LINEAR.withRate(config.strength()).undecayed().personal()
          : TensorRole.LINEAR;
    }

    @Override
    public StepObserver observer(MethodState state, TrainingSpan span, ParameterLayout layout) {
      return new StepObserver() {
        @Override
        public Map<String, float[]> report() {
          return Map.of("updates", new float[] {span.updates()});
        }
      };
    }

    @Override
    public RoundDecision.Output decide(MethodState state, RoundDecision.Input input) {
      int before = state.integers(UPDATES)[0];
      int now = Math.round(input.reports().get("updates")[0]);
      return new RoundDecision.Output(updates(before + now), input.parameters());
    }

    @Override
    public Map<String, float[]> fuse(
        ParameterVector parameters, MethodState state, BaseWeights base) {
      Map<String, float[]> fused = new LinkedHashMap<>();
      for (ModuleSpec site : sites) {
        float[] bias = base.tensor(site.path() + ".bias").clone();
        float[] a = parameters.tensor(shared(site));
        float[] b = parameters.tensor(own(site));
        for (int i = 0; i < bias.length; i++) {
          bias[i] += a[i] + b[i];
        }
        fused.put(site.path() + ".bias", bias);
      }
      return fused;
    }

    @Override
    public SortedMap<String, TensorData> save(ParameterVector parameters, MethodState state) {
      SortedMap<String, TensorData> file = AttachedMethod.super.save(parameters, state);
      String name = AdapterTensors.PREFIX + UPDATES;
      file.put(name, state.tensor(UPDATES).withName(name));
      return file;
    }

    @Override
    public Loaded load(AdapterTensors file, BaseWeights base) {
      int count = (int) file.take(AdapterTensors.PREFIX + UPDATES, List.of(1)).toLongs()[0];
      return new Loaded(file.takeAll(shapes()), updates(count));
    }
  }
}
