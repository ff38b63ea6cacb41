package org.sparkpeft.core.peft.additive;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.types.Shape;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.SortedMap;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.model.ModuleSpec;
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
import org.sparkpeft.core.peft.TargetSelection;
import org.sparkpeft.core.peft.TensorRole;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * (IA)^3 (Liu et al. 2022, arXiv 2205.05638): {@code y = l * (W x + b)} with {@code l [out, 1]},
 * and on feed-forward modules {@code y = W (l * x) + b} with {@code l [1, in]}. Averaging l
 * averages the effective weights, so it is exact across clients.
 */
public final class Ia3 implements PeftMethod<Ia3.Config> {

  /**
   * Settings.
   *
   * @param targetModules linear layers to scale
   * @param excludeModules names to leave out, or one regular expression
   * @param feedforwardModules those whose input is scaled instead of the output: endings of paths,
   *     as Hugging Face reads them, or one regular expression
   * @param initIa3Weights start at ones, the identity; else standard normal
   * @param modulesToSave modules trained and saved in full
   */
  public record Config(
      TargetModules targetModules,
      List<String> excludeModules,
      List<String> feedforwardModules,
      boolean initIa3Weights,
      List<String> modulesToSave)
      implements PeftConfig {

    public Config {
      excludeModules = List.copyOf(excludeModules);
      feedforwardModules = List.copyOf(feedforwardModules);
      modulesToSave = List.copyOf(modulesToSave);
      boolean expression =
          feedforwardModules.size() == 1 && TargetModules.isExpression(feedforwardModules.get(0));
      if (!expression && !targetModules.names().isEmpty()) {
        for (String name : feedforwardModules) {
          if (!targetModules.names().contains(name)) {
            throw new ConfigException(
                "feedforward_modules",
                "must be among target_modules " + targetModules.names() + ", got " + name);
          }
        }
      }
    }

    @Override
    public String peftType() {
      return "IA3";
    }

    boolean scalesInput(String path) {
      return (feedforwardModules.size() == 1
              && TargetModules.isExpression(feedforwardModules.get(0)))
          ? path.matches(feedforwardModules.get(0))
          : feedforwardModules.stream().anyMatch(path::endsWith);
    }
  }

  @Override
  public String peftType() {
    return "IA3";
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
  public double usualRate() {
    return 3;
  }

  /** Hugging Face's choice for BERT: keys, values, and the input of both output layers. */
  @Override
  public Config defaults() {
    return new Config(
        TargetModules.of("key", "value", "output.dense"),
        List.of(),
        List.of("output.dense"),
        true,
        List.of("classifier"));
  }

  @Override
  public Config fileDefaults() {
    return new Config(defaults().targetModules(), List.of(), List.of(), true, List.of());
  }

  @Override
  public Map<String, Object> inertFields() {
    return Map.of("fan_in_fan_out", false);
  }

  /** Hugging Face writes no feed-forward modules as an empty list. */
  @Override
  public SortedMap<String, Object> writeConfig(Config config) {
    SortedMap<String, Object> fields = PeftMethod.super.writeConfig(config);
    if (config.feedforwardModules().isEmpty()) {
      fields.put("feedforward_modules", List.of());
    }
    return fields;
  }

  @Override
  public AttachedMethod attach(Config config, ModuleTree modules) {
    List<ModuleSpec> found =
        TargetSelection.select(
            modules,
            config.targetModules(),
            config.excludeModules(),
            List.of(),
            Set.of(ModuleSpec.Kind.LINEAR));
    List<Site> sites = new ArrayList<>();
    found.forEach(module -> sites.add(new Site(module, config.scalesInput(module.path()))));
    return new Attached(config, List.copyOf(sites));
  }

  private record Site(ModuleSpec module, boolean input) {
    String name() {
      return module.path() + ".ia3_l";
    }

    int size() {
      return input ? module.in() : module.out();
    }
  }

  private record Attached(Config config, List<Site> sites) implements AttachedMethod {
    @Override
    public Map<String, List<Integer>> shapes() {
      Map<String, List<Integer>> shapes = new LinkedHashMap<>();
      for (Site site : sites) {
        shapes.put(site.name(), site.input() ? List.of(1, site.size()) : List.of(site.size(), 1));
      }
      return shapes;
    }

    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      Map<String, float[]> values = new LinkedHashMap<>();
      for (Site site : sites) {
        float[] scale = new float[site.size()];
        Arrays.fill(scale, 1);
        if (!config.initIa3Weights()) {
          scale = Philox.of(seed, "ia3", Philox.hash(site.name())).gaussian(scale.length, 1);
        }
        values.put(site.name(), scale);
      }
      return values;
    }

    @Override
    public List<Modification> modifications(MethodTensors tensors, TuningContext context) {
      List<Modification> modifications = new ArrayList<>();
      for (Site site : sites) {
        NDArray scale = tensors.parameter(site.name()).reshape(new Shape(site.size()));
        String path = site.module().path();
        modifications.add(
            site.input()
                ? Modification.scaledInput(path, scale)
                : Modification.scaledOutput(path, scale));
      }
      return modifications;
    }

    @Override
    public TensorRole role(String tensor) {
      return TensorRole.LINEAR;
    }

    /** {@code diag(l) W} and {@code l * b}, or {@code W diag(l)}. */
    @Override
    public Map<String, float[]> fuse(
        ParameterVector parameters, MethodState state, BaseWeights base) {
      Map<String, float[]> fused = new LinkedHashMap<>();
      for (Site site : sites) {
        float[] scale = parameters.tensor(site.name());
        String name = site.module().path() + ".weight";
        float[] weight = base.tensor(name).clone();
        int in = site.module().in();
        for (int i = 0; i < weight.length; i++) {
          weight[i] *= scale[site.input() ? i % in : i / in];
        }
        fused.put(name, weight);
        if (!site.input() && site.module().bias()) {
          float[] bias = base.tensor(site.module().path() + ".bias").clone();
          for (int i = 0; i < bias.length; i++) {
            bias[i] *= scale[i];
          }
          fused.put(site.module().path() + ".bias", bias);
        }
      }
      return fused;
    }
  }
}
