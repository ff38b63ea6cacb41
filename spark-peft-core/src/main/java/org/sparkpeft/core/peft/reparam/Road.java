package org.sparkpeft.core.peft.reparam;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.engine.TorchEngine;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.Problems;
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
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * RoAd, rotations of pairs of a layer's outputs (Liao and Monz 2024, arXiv 2409.00119). In each
 * group of {@code group_size} outputs, entry i of the first half pairs with entry i of the second:
 * {@code (a cos t h1 - a sin t h2, a cos t h2 + a sin t h1)}. One angle t and length a for a pair
 * ({@code road_1}), for an output ({@code road_2}), or two of each for an output, the first for the
 * cosine and the second for the sine ({@code road_4}). Starts with t = 0 and a = 1, as the base.
 * Averages of angles are not averages of rotations.
 */
public final class Road implements PeftMethod<Road.Config> {

  /**
   * The settings, under Hugging Face's names.
   *
   * @param variant {@code road_1}, {@code road_2} or {@code road_4}
   * @param groupSize outputs in a group: even, and a divisor of each layer's outputs
   * @param initWeights false starts with t from N(0, 0.5) and a from N(1, 0.5)
   * @param targetModules linear layers acted on
   * @param modulesToSave modules trained in full
   */
  public record Config(
      String variant,
      int groupSize,
      boolean initWeights,
      TargetModules targetModules,
      List<String> modulesToSave)
      implements PeftConfig {

    public Config {
      modulesToSave = List.copyOf(modulesToSave);
      Problems problems = new Problems();
      Checks.oneOf(problems, "variant", variant, List.of("road_1", "road_2", "road_4"));
      problems.require(
          groupSize >= 2 && groupSize % 2 == 0,
          "group_size",
          groupSize,
          "must be an even number above 0, such as 64");
      problems.throwIfAny();
    }

    @Override
    public String peftType() {
      return "ROAD";
    }
  }

  /** Hugging Face's group of 64 does not divide the outputs of small models. */
  @Override
  public Config defaults() {
    return new Config("road_1", 2, true, TargetModules.of("query", "value"), List.of("classifier"));
  }

  @Override
  public Config fileDefaults() {
    return new Config("road_1", 64, true, TargetModules.of("query", "value"), List.of());
  }

  @Override
  public String peftType() {
    return "ROAD";
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
  public AttachedMethod attach(Config config, ModuleTree modules) {
    List<ModuleSpec> layers = Layers.linear(modules, config.targetModules(), List.of(), List.of());
    for (ModuleSpec layer : layers) {
      if (layer.out() % config.groupSize() != 0) {
        throw new ConfigException(
            "group_size",
            "must divide the "
                + layer.out()
                + " outputs of "
                + layer.path()
                + ", got "
                + config.groupSize());
      }
    }
    return new Attached(config, layers);
  }

  private record Attached(Config config, List<ModuleSpec> layers) implements AttachedMethod {

    @Override
    public Map<String, List<Integer>> shapes() {
      Map<String, List<Integer>> shapes = new LinkedHashMap<>();
      for (ModuleSpec layer : layers) {
        int size =
            switch (config.variant()) {
              case "road_1" -> layer.out() / 2;
              case "road_2" -> layer.out();
              default -> 2 * layer.out();
            };
        shapes.put(layer.path() + ".road_theta", List.of(size));
        shapes.put(layer.path() + ".road_alpha", List.of(size));
      }
      return shapes;
    }

    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      Map<String, float[]> values = new LinkedHashMap<>();
      shapes()
          .forEach(
              (name, shape) -> {
                float[] start = Layers.filled(shape.get(0), name.endsWith("alpha") ? 1 : 0);
                if (!config.initWeights()) {
                  Philox random = Philox.of(seed, "road", Philox.hash(name));
                  float[] noise = random.gaussian(start.length, 0.5);
                  for (int i = 0; i < start.length; i++) {
                    start[i] += noise[i];
                  }
                }
                values.put(name, start);
              });
      return values;
    }

    @Override
    public List<Modification> modifications(MethodTensors tensors, TuningContext context) {
      List<Modification> modifications = new ArrayList<>();
      for (ModuleSpec layer : layers) {
        NDList factors =
            factors(
                tensors.parameter(layer.path() + ".road_theta"),
                tensors.parameter(layer.path() + ".road_alpha"));
        modifications.add(Modification.sequential(layer.path(), h -> rotated(h, factors)));
      }
      return modifications;
    }

    /** {@code a cos t} and {@code a sin t}, each {@code [out]}. */
    private NDList factors(NDArray theta, NDArray alpha) {
      if (config.variant().equals("road_4")) {
        NDList angles = theta.reshape(-1, 2, config.groupSize()).split(2, 1);
        NDList lengths = alpha.reshape(-1, 2, config.groupSize()).split(2, 1);
        return new NDList(
            lengths.get(0).mul(angles.get(0).cos()).flatten(),
            lengths.get(1).mul(angles.get(1).sin()).flatten());
      }
      NDArray cosine = alpha.mul(theta.cos());
      NDArray sine = alpha.mul(theta.sin());
      return config.variant().equals("road_1")
          ? new NDList(forBothHalves(cosine), forBothHalves(sine))
          : new NDList(cosine, sine);
    }

    private NDArray forBothHalves(NDArray ofPairs) {
      NDArray halves = ofPairs.reshape(-1, 1, config.groupSize() / 2);
      return halves.concat(halves, 1).flatten();
    }

    /**
     * @param h {@code [..., out]}
     */
    private NDArray rotated(NDArray h, NDList factors) {
      NDList halves = h.reshape(-1, 2, config.groupSize() / 2).split(2, 1);
      NDArray turned = halves.get(1).neg().concat(halves.get(0), 1).reshape(h.getShape());
      return h.mul(factors.get(0)).add(turned.mul(factors.get(1)));
    }

    /** The columns of the weight and the bias, rotated as outputs are. */
    @Override
    public Map<String, float[]> fuse(
        ParameterVector parameters, MethodState state, BaseWeights base) {
      Map<String, float[]> fused = new LinkedHashMap<>();
      for (ModuleSpec layer : layers) {
        try (NDManager manager = ComputeDevice.cpu().newManager()) {
          NDList factors =
              factors(
                  tensor(manager, parameters, layer.path() + ".road_theta"),
                  tensor(manager, parameters, layer.path() + ".road_alpha"));
          String weight = layer.path() + ".weight";
          NDArray columns =
              TorchEngine.tensor(manager, base.tensor(weight), List.of(layer.out(), layer.in()))
                  .transpose();
          fused.put(weight, rotated(columns, factors).transpose().toFloatArray());
          if (layer.bias()) {
            String bias = layer.path() + ".bias";
            NDArray row = TorchEngine.tensor(manager, base.tensor(bias), List.of(layer.out()));
            fused.put(bias, rotated(row, factors).toFloatArray());
          }
        }
      }
      return fused;
    }

    private NDArray tensor(NDManager manager, ParameterVector parameters, String name) {
      float[] values = parameters.tensor(name);
      return TorchEngine.tensor(manager, values, List.of(values.length));
    }
  }
}
