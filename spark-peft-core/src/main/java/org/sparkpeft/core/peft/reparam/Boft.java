package org.sparkpeft.core.peft.reparam;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.index.NDIndex;
import ai.djl.ndarray.types.Shape;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SortedMap;
import org.sparkpeft.core.engine.Scalars;
import org.sparkpeft.core.error.ConfigException;
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
 * BOFT, orthogonal fine-tuning with butterfly factors (Liu et al. 2023, arXiv 2311.06243): {@code y
 * = s * (W (x R)) + b}, {@code R = B_m ... B_1}. Factor {@code B_i = P_i D_i P_it}: D_i is
 * block-diagonal, {@code in / b} blocks of size b, each the Cayley transform of the skew part
 * {@code (M - Mt) / 2} of a trained {@code M [b, b]}; P_i permutes, so that blocks of different
 * factors mix; P_1 changes nothing when there is one factor. s {@code [out, 1]} scales the outputs.
 * Starts as the base. Averages of factors are not averages of rotations.
 */
public final class Boft implements PeftMethod<Boft.Config> {

  /**
   * The settings, under Hugging Face's names.
   *
   * @param boftBlockSize size b of a block, which must divide the inputs, or 0
   * @param boftBlockNum number of blocks, which must divide the inputs, or 0; one of both is given
   * @param boftNButterflyFactor number m of factors; above 1, size and number of blocks must be
   *     even and the number a multiple of 2^(m-1)
   * @param targetModules linear layers acted on
   * @param excludeModules names to leave out
   * @param boftDropout share of one factor's blocks that are the identity in a training step
   * @param bias {@code none}, or {@code boft_only} to train the layers' biases
   * @param modulesToSave modules trained in full
   * @param initWeights false starts with M from N(0, 0.1) and s from N(1, 0.1)
   * @param layersToTransform layer numbers; empty means all
   * @param factorsInFile factors that the tensors of a file have, or 0 for as many as {@code
   *     boftNButterflyFactor}: Hugging Face keeps one where its CUDA kernel is missing, whatever
   *     the setting says. Not a field of {@code adapter_config.json}; the tensors' shapes show it
   */
  public record Config(
      int boftBlockSize,
      int boftBlockNum,
      int boftNButterflyFactor,
      TargetModules targetModules,
      List<String> excludeModules,
      double boftDropout,
      String bias,
      List<String> modulesToSave,
      boolean initWeights,
      List<Integer> layersToTransform,
      int factorsInFile)
      implements PeftConfig {

    public Config {
      excludeModules = List.copyOf(excludeModules);
      layersToTransform = List.copyOf(layersToTransform);
      modulesToSave = List.copyOf(modulesToSave);
      Problems problems = new Problems();
      problems.require(
          boftBlockSize >= 0 && boftBlockNum >= 0 && (boftBlockSize == 0) != (boftBlockNum == 0),
          "boft_block_size",
          "boft_block_size = " + boftBlockSize + " and boft_block_num = " + boftBlockNum,
          "set one of boft_block_size and boft_block_num above 0 and leave the other 0");
      problems.require(
          boftNButterflyFactor >= 1 && boftNButterflyFactor <= 30,
          "boft_n_butterfly_factor",
          boftNButterflyFactor,
          "must be 1..30");
      problems.require(
          factorsInFile == 0 || factorsInFile == 1 || factorsInFile == boftNButterflyFactor,
          "factors_in_file",
          factorsInFile,
          "must be 0, 1 or boft_n_butterfly_factor");
      Checks.probability(problems, "boft_dropout", boftDropout);
      Checks.bias(problems, bias);
      Checks.layers(problems, layersToTransform);
      problems.throwIfAny();
    }

    int factors() {
      return factorsInFile == 0 ? boftNButterflyFactor : factorsInFile;
    }

    Config withFactorsInFile(int factors) {
      return new Config(
          boftBlockSize,
          boftBlockNum,
          boftNButterflyFactor,
          targetModules,
          excludeModules,
          boftDropout,
          bias,
          modulesToSave,
          initWeights,
          layersToTransform,
          factors);
    }

    @Override
    public String peftType() {
      return "BOFT";
    }
  }

  private static Config config(List<String> modulesToSave) {
    return new Config(
        4,
        0,
        1,
        TargetModules.of("query", "value"),
        List.of(),
        0,
        "none",
        modulesToSave,
        true,
        List.of(),
        0);
  }

  @Override
  public String peftType() {
    return "BOFT";
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
    return Checks.inert("fan_in_fan_out", false);
  }

  @Override
  public Config readConfig(Map<String, Object> fields, Map<String, List<Integer>> shapes) {
    Config config = readConfig(fields);
    boolean one =
        shapes.entrySet().stream()
            .anyMatch(
                tensor -> tensor.getKey().endsWith(".boft_R") && tensor.getValue().get(0) == 1);
    return one && config.boftNButterflyFactor() > 1 ? config.withFactorsInFile(1) : config;
  }

  @Override
  public SortedMap<String, Object> writeConfig(Config config) {
    SortedMap<String, Object> fields = PeftMethod.super.writeConfig(config);
    fields.remove("factors_in_file");
    return fields;
  }

  @Override
  public AttachedMethod attach(Config config, ModuleTree modules) {
    List<ModuleSpec> layers =
        Layers.linear(
            modules, config.targetModules(), config.excludeModules(), config.layersToTransform());
    layers.forEach(layer -> check(config, layer));
    return TrainedBiases.of(config.bias(), new Attached(config, layers), layers);
  }

  private static void check(Config config, ModuleSpec layer) {
    boolean bySize = config.boftBlockNum() == 0;
    String key = bySize ? "boft_block_size" : "boft_block_num";
    int given = bySize ? config.boftBlockSize() : config.boftBlockNum();
    if (layer.in() % given != 0) {
      throw new ConfigException(
          key, "must divide the " + layer.in() + " inputs of " + layer.path() + ", got " + given);
    }
    int number = bySize ? layer.in() / given : given;
    int size = layer.in() / number;
    int period = 1 << (config.factors() - 1);
    if (config.factors() > 1 && (size % 2 != 0 || number % 2 != 0 || number % period != 0)) {
      throw new ConfigException(
          "boft_n_butterfly_factor",
          config.factors()
              + " factors need blocks of even size, and a multiple of "
              + Math.max(2, period)
              + " of them; "
              + layer.path()
              + " has "
              + number
              + " of size "
              + size);
    }
  }

  /**
   * The order of inputs that factor {@code i}, from 0, works in: within each group of {@code 2^i}
   * blocks, half blocks at even places come first, then those at odd places.
   */
  static int[] order(int in, int blocks, int size, int i, int factors) {
    int[] order = new int[in];
    int half = size / 2;
    int group = factors == 1 ? in : in / (blocks >> i);
    int halves = factors == 1 ? 1 : group / half;
    int width = group / halves;
    int evens = (halves + 1) / 2;
    for (int at = 0; at < in; at++) {
      int place = at % group / width;
      int from = place < evens ? 2 * place : 2 * (place - evens) + 1;
      order[at] = at / group * group + from * width + at % width;
    }
    return order;
  }

  private record Attached(Config config, List<ModuleSpec> layers) implements WeightMethod {

    private int blocks(ModuleSpec layer) {
      return config.boftBlockNum() == 0
          ? layer.in() / config.boftBlockSize()
          : config.boftBlockNum();
    }

    @Override
    public Map<String, List<Integer>> shapes() {
      Map<String, List<Integer>> shapes = new LinkedHashMap<>();
      for (ModuleSpec layer : layers) {
        int size = layer.in() / blocks(layer);
        shapes.put(layer.path() + ".boft_R", List.of(config.factors(), blocks(layer), size, size));
        shapes.put(layer.path() + ".boft_s", List.of(layer.out(), 1));
      }
      return shapes;
    }

    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      Map<String, float[]> values = new LinkedHashMap<>();
      shapes()
          .forEach(
              (name, shape) -> {
                boolean scale = name.endsWith("_s");
                float[] start = Layers.filled(Layers.size(shape), scale ? 1 : 0);
                if (!config.initWeights()) {
                  Philox random = Philox.of(seed, "boft", Philox.hash(name));
                  float[] noise = random.gaussian(start.length, 0.1);
                  for (int i = 0; i < start.length; i++) {
                    start[i] += noise[i];
                  }
                }
                values.put(name, start);
              });
      return values;
    }

    /** {@code s * (W Rt)}: W times the transposed factors, the last applied to x first. */
    @Override
    public NDArray weight(
        ModuleSpec layer, NDArray weight, MethodTensors tensors, Optional<TuningContext> training) {
      int size = layer.in() / blocks(layer);
      NDArray matrices =
          tensors
              .parameter(layer.path() + ".boft_R")
              .reshape((long) config.factors() * blocks(layer), size, size);
      NDArray skew = Scalars.times(matrices.sub(matrices.transpose(0, 2, 1)), 0.5f);
      NDArray rotations = Rotations.cayley(skew);
      NDList factors =
          config.factors() == 1 ? new NDList(rotations) : rotations.split(config.factors(), 0);
      int dropped = -1;
      Philox random = Philox.of(0, "unused");
      if (config.boftDropout() > 0 && training.isPresent()) {
        random = training.get().random().child(Philox.hash(layer.path()));
        dropped = (int) (random.child(0).doubleAt(0) * config.factors());
      }
      NDArray rotated = weight;
      for (int i = 0; i < config.factors(); i++) {
        NDArray factor = factors.get(i);
        if (i == dropped) {
          factor = Rotations.dropBlocks(factor, config.boftDropout(), random.child(1));
        }
        int[] order = order(layer.in(), blocks(layer), size, i, config.factors());
        rotated = factor(rotated, factor, order);
      }
      return rotated.mul(tensors.parameter(layer.path() + ".boft_s"));
    }

    /** {@code V P Dt Pt}. */
    private NDArray factor(NDArray weight, NDArray blocks, int[] order) {
      if (config.factors() == 1) {
        return Rotations.apply(weight, blocks);
      }
      int[] inverse = new int[order.length];
      for (int i = 0; i < order.length; i++) {
        inverse[order[i]] = i;
      }
      NDArray mixed = columns(weight, blocks, inverse);
      return columns(Rotations.apply(mixed, blocks), blocks, order);
    }

    private static NDArray columns(NDArray weight, NDArray owner, int[] order) {
      long[] index = java.util.Arrays.stream(order).asLongStream().toArray();
      NDArray columns = owner.getManager().create(index, new Shape(index.length));
      NDArray taken = weight.get(new NDIndex(":, {}", columns));
      taken.attach(owner.getManager());
      return taken;
    }
  }
}
