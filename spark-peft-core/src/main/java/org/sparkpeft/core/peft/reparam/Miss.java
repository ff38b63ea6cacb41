package org.sparkpeft.core.peft.reparam;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.index.NDIndex;
import ai.djl.ndarray.types.Shape;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.nn.Linear;
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

/**
 * MiSS, matrix shard sharing, also known as Bone (Kang and Yin 2024, arXiv 2409.15371). {@code y =
 * W x + b + Dt s} with trained {@code D [r, out]}, {@code s_q} the sum of the inputs {@code q, q +
 * r, q + 2 r, ...}: every r columns of W get the same addend. With {@code mini}, D is {@code [r,
 * mini_r]}, repeated along the outputs. With {@code bat}, D is {@code [out / r, r, r]} and block
 * {@code W_ij [r, r]} becomes {@code W_ij + W_ij D_i + D_i}. Starts with zeros, as the base. The
 * change is linear in D, so averages of clients are exact.
 */
public final class Miss implements PeftMethod<Miss.Config> {

  /**
   * The settings, under Hugging Face's names.
   *
   * @param r number of different columns, at most a layer's inputs; with {@code bat} it must divide
   *     a layer's inputs and outputs
   * @param missDropout probability of dropping an input of the branch while training; not with
   *     {@code bat}
   * @param miniR different rows in the mini form; must divide a layer's outputs
   * @param targetModules linear layers acted on
   * @param excludeModules names to leave out
   * @param initWeights {@code true} (zeros), {@code false} (random, so the output changes at once),
   *     the names of the two other forms (zeros)
   * @param layersToTransform layer numbers; empty means all
   * @param bias {@code none}, or {@code miss_only} to train the layers' biases
   * @param modulesToSave modules trained in full
   */
  public record Config(
      int r,
      double missDropout,
      int miniR,
      TargetModules targetModules,
      List<String> excludeModules,
      String initWeights,
      List<Integer> layersToTransform,
      String bias,
      List<String> modulesToSave)
      implements PeftConfig {

    public Config {
      excludeModules = List.copyOf(excludeModules);
      layersToTransform = List.copyOf(layersToTransform);
      modulesToSave = List.copyOf(modulesToSave);
      Problems problems = new Problems();
      Checks.rank(problems, r);
      Checks.probability(problems, "miss_dropout", missDropout);
      problems.require(miniR >= 1, "mini_r", miniR, "must be at least 1");
      Checks.oneOf(problems, "init_weights", initWeights, List.of("true", "false", "bat", "mini"));
      Checks.bias(problems, bias);
      Checks.layers(problems, layersToTransform);
      problems.throwIfAny();
    }

    @Override
    public String peftType() {
      return "MISS";
    }
  }

  private static Config config(int r, List<String> modulesToSave) {
    return new Config(
        r,
        0,
        1,
        TargetModules.of("query", "value"),
        List.of(),
        "true",
        List.of(),
        "none",
        modulesToSave);
  }

  /** Hugging Face's 64 exceeds the inputs of small layers. */
  @Override
  public Config defaults() {
    return config(8, List.of("classifier"));
  }

  @Override
  public Config fileDefaults() {
    return config(64, List.of());
  }

  @Override
  public String peftType() {
    return "MISS";
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
  public Map<String, Object> inertFields() {
    return Checks.inert();
  }

  @Override
  public AttachedMethod attach(Config config, ModuleTree modules) {
    List<ModuleSpec> layers =
        Layers.linear(
            modules, config.targetModules(), config.excludeModules(), config.layersToTransform());
    for (ModuleSpec layer : layers) {
      check(config, layer);
    }
    return TrainedBiases.of(config.bias(), new Attached(config, layers), layers);
  }

  private static void check(Config config, ModuleSpec layer) {
    String sides = layer.path() + " has " + layer.in() + " inputs and " + layer.out() + " outputs";
    if (config.r() > layer.in()) {
      throw new ConfigException(
          "r", "must be at most the number of inputs, got " + config.r() + "; " + sides);
    }
    if (config.initWeights().equals("bat")
        && (layer.in() % config.r() != 0 || layer.out() % config.r() != 0)) {
      throw new ConfigException(
          "r", "must divide both sides with bat, got " + config.r() + "; " + sides);
    }
    if (config.initWeights().equals("mini") && layer.out() % config.miniR() != 0) {
      throw new ConfigException(
          "mini_r", "must divide the outputs, got " + config.miniR() + "; " + sides);
    }
  }

  private record Attached(Config config, List<ModuleSpec> layers) implements WeightMethod {

    private boolean isBat() {
      return config.initWeights().equals("bat");
    }

    private static String name(ModuleSpec layer) {
      return layer.path() + ".miss_block";
    }

    @Override
    public Map<String, List<Integer>> shapes() {
      Map<String, List<Integer>> shapes = new LinkedHashMap<>();
      int r = config.r();
      for (ModuleSpec layer : layers) {
        shapes.put(
            name(layer),
            switch (config.initWeights()) {
              case "bat" -> List.of(layer.out() / r, r, r);
              case "mini" -> List.of(r, config.miniR());
              default -> List.of(r, layer.out());
            });
      }
      return shapes;
    }

    @Override
    public TensorRole role(String tensor) {
      return TensorRole.LINEAR;
    }

    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      Map<String, float[]> values = new LinkedHashMap<>();
      shapes()
          .forEach(
              (name, shape) -> {
                int size = Layers.size(shape);
                Philox random = Philox.of(seed, "miss", Philox.hash(name));
                values.put(
                    name,
                    config.initWeights().equals("false")
                        ? Layers.kaiming(random, size, shape.get(1))
                        : new float[size]);
              });
      return values;
    }

    /** The matrix beside itself, {@code times} times. */
    private static NDArray tiled(NDArray matrix, long times) {
      long rows = matrix.getShape().get(0);
      long columns = matrix.getShape().get(1);
      return matrix
          .reshape(rows, 1, columns)
          .broadcast(rows, times, columns)
          .reshape(rows, times * columns);
    }

    /** D {@code [r, out]}. */
    private NDArray shards(ModuleSpec layer, MethodTensors tensors) {
      NDArray trained = tensors.parameter(name(layer));
      return config.initWeights().equals("mini")
          ? tiled(trained, layer.out() / config.miniR())
          : trained;
    }

    @Override
    public List<Modification> modifications(MethodTensors tensors, TuningContext context) {
      if (isBat()) {
        return WeightMethod.super.modifications(tensors, context);
      }
      List<Modification> modifications = new ArrayList<>();
      for (ModuleSpec layer : layers) {
        NDArray shards = shards(layer, tensors).transpose(); // [out, r]
        modifications.add(
            Modification.parallel(
                layer.path(),
                x -> {
                  NDArray kept = LowRankMethod.dropped(layer, x, config.missDropout(), context);
                  return Linear.of(summed(kept), shards, null);
                }));
      }
      return modifications;
    }

    /** {@code [..., in]} to {@code [..., r]}: sums of every r-th entry. */
    private NDArray summed(NDArray x) {
      int r = config.r();
      Shape outer = x.getShape().slice(0, x.getShape().dimension() - 1);
      long in = x.getShape().get(x.getShape().dimension() - 1);
      long missing = (r - in % r) % r;
      NDManager manager = x.getManager();
      NDArray whole =
          missing == 0 ? x : x.concat(manager.zeros(outer.add(missing)), outer.dimension());
      return whole.reshape(outer.add((in + missing) / r).add(r)).sum(new int[] {outer.dimension()});
    }

    @Override
    public NDArray weight(
        ModuleSpec layer, NDArray weight, MethodTensors tensors, Optional<TuningContext> training) {
      int r = config.r();
      if (!isBat()) {
        NDArray rows = shards(layer, tensors).transpose(); // [out, r]
        NDArray repeated = tiled(rows, (layer.in() + r - 1) / r);
        return repeated.get(new NDIndex(":, :" + layer.in())).add(weight);
      }
      NDArray trained = tensors.parameter(name(layer)).reshape(1, layer.out() / r, r, r);
      NDArray blocks =
          weight
              .reshape(layer.out() / r, r, layer.in() / r, r)
              .transpose(2, 0, 1, 3); // [in / r, out / r, r, r]
      NDArray changed = blocks.matMul(trained).add(trained).add(blocks);
      return changed.transpose(1, 2, 0, 3).reshape(layer.out(), layer.in());
    }
  }
}
