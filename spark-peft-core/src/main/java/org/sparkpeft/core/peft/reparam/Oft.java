package org.sparkpeft.core.peft.reparam;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
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
import org.sparkpeft.core.peft.StepObserver;
import org.sparkpeft.core.peft.TargetModules;
import org.sparkpeft.core.peft.TrainingSpan;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterLayout;

/**
 * OFT, orthogonal fine-tuning of a layer's input (Qiu et al. 2023, arXiv 2306.07280; Qiu et al.
 * 2025, OFTv2, arXiv 2506.19847): {@code y = W (x R) + b}, R block-diagonal with r blocks of size
 * b, {@code r b = in}. A block is the Cayley transform {@code (I - Q) (I + Q)^-1} of a
 * skew-symmetric Q, whose upper triangle, row by row, is trained: {@code [r, b (b - 1) / 2]}; or
 * its Neumann series. Starts as the identity. A mean of Q is skew-symmetric, so averaged clients
 * rotate still, but not by the mean rotation.
 */
public final class Oft implements PeftMethod<Oft.Config> {

  /**
   * The settings, under Hugging Face's names.
   *
   * @param r number of blocks of a layer, or 0 when {@code oftBlockSize} says it; moved to the
   *     nearest number that divides the layer's inputs
   * @param oftBlockSize size b of a block, or 0 when {@code r} says it; moved likewise
   * @param moduleDropout share of the blocks that are the identity in a training step
   * @param targetModules linear layers acted on
   * @param bias {@code none}, or {@code oft_only} to train the layers' biases
   * @param excludeModules names to leave out
   * @param initWeights false starts with Q from N(0, 0.1), so the output changes at once
   * @param layersToTransform layer numbers; empty means all
   * @param modulesToSave modules trained in full
   * @param coft whether Q is kept within a ball after every update
   * @param eps the ball's radius times the square root of the number of blocks
   * @param blockShare whether a layer has the same block everywhere
   * @param useCayleyNeumann series instead of the inverse: faster, orthogonal for small Q only
   * @param numCayleyNeumannTerms length of the series
   */
  public record Config(
      int r,
      int oftBlockSize,
      double moduleDropout,
      TargetModules targetModules,
      String bias,
      List<String> excludeModules,
      boolean initWeights,
      List<Integer> layersToTransform,
      List<String> modulesToSave,
      boolean coft,
      double eps,
      boolean blockShare,
      boolean useCayleyNeumann,
      int numCayleyNeumannTerms)
      implements PeftConfig {

    public Config {
      excludeModules = List.copyOf(excludeModules);
      layersToTransform = List.copyOf(layersToTransform);
      modulesToSave = List.copyOf(modulesToSave);
      Problems problems = new Problems();
      problems.require(
          r >= 0 && oftBlockSize >= 0 && (r == 0) != (oftBlockSize == 0),
          "oft_block_size",
          "r = " + r + " and oft_block_size = " + oftBlockSize,
          "set one of r and oft_block_size above 0 and leave the other 0");
      problems.require(
          oftBlockSize != 1, "oft_block_size", oftBlockSize, "a block of size 1 cannot rotate");
      Checks.probability(problems, "module_dropout", moduleDropout);
      Checks.bias(problems, bias);
      Checks.positive(problems, "eps", eps);
      problems.require(
          numCayleyNeumannTerms >= 2 && numCayleyNeumannTerms <= 100,
          "num_cayley_neumann_terms",
          numCayleyNeumannTerms,
          "must be 2..100; usual is 5");
      Checks.layers(problems, layersToTransform);
      problems.throwIfAny();
    }

    @Override
    public String peftType() {
      return "OFT";
    }
  }

  private static Config config(List<String> modulesToSave) {
    return new Config(
        0,
        32,
        0,
        TargetModules.of("query", "value"),
        "none",
        List.of(),
        true,
        List.of(),
        modulesToSave,
        false,
        6e-5,
        false,
        true,
        5);
  }

  @Override
  public String peftType() {
    return "OFT";
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
  public AttachedMethod attach(Config config, ModuleTree modules) {
    List<ModuleSpec> layers =
        Layers.linear(
            modules, config.targetModules(), config.excludeModules(), config.layersToTransform());
    return TrainedBiases.of(config.bias(), new Attached(config, layers), layers);
  }

  /** The divisor of {@code size} next to {@code wish}; the smaller of two equally near. */
  static int divisor(int size, int wish) {
    if (wish >= size) {
      return size;
    }
    int higher = wish;
    while (size % higher != 0) {
      higher++;
    }
    int lower = wish;
    while (size % lower != 0) {
      lower--;
    }
    return wish - lower <= higher - wish ? lower : higher;
  }

  private record Attached(Config config, List<ModuleSpec> layers) implements WeightMethod {

    private int blockSize(ModuleSpec layer) {
      return config.r() == 0
          ? divisor(layer.in(), config.oftBlockSize())
          : layer.in() / divisor(layer.in(), config.r());
    }

    private static String name(ModuleSpec layer) {
      return layer.path() + ".oft_R.weight";
    }

    @Override
    public Map<String, List<Integer>> shapes() {
      Map<String, List<Integer>> shapes = new LinkedHashMap<>();
      for (ModuleSpec layer : layers) {
        int size = blockSize(layer);
        int blocks = config.blockShare() ? 1 : layer.in() / size;
        shapes.put(name(layer), List.of(blocks, size * (size - 1) / 2));
      }
      return shapes;
    }

    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      Map<String, float[]> values = new LinkedHashMap<>();
      shapes()
          .forEach(
              (name, shape) -> {
                int size = Layers.size(shape);
                Philox random = Philox.of(seed, "oft", Philox.hash(name));
                values.put(
                    name, config.initWeights() ? new float[size] : random.gaussian(size, 0.1));
              });
      return values;
    }

    @Override
    public NDArray weight(
        ModuleSpec layer, NDArray weight, MethodTensors tensors, Optional<TuningContext> training) {
      NDArray vectors = tensors.parameter(name(layer));
      if (config.coft()) {
        // The gradient is that at the projected values, as if they were the parameters.
        vectors = vectors.add(projected(vectors).sub(vectors).stopGradient());
      }
      NDArray skew = skew(vectors, blockSize(layer));
      NDArray rotation =
          config.useCayleyNeumann()
              ? Rotations.neumann(skew, config.numCayleyNeumannTerms())
              : Rotations.cayley(skew);
      if (config.moduleDropout() > 0 && training.isPresent()) {
        Philox random = training.get().random().child(Philox.hash(layer.path()));
        rotation = Rotations.dropBlocks(rotation, config.moduleDropout(), random);
      }
      return Rotations.apply(weight, rotation);
    }

    /** {@code [blocks, b (b - 1) / 2]} to {@code [blocks, b, b]}. */
    private static NDArray skew(NDArray vectors, int size) {
      NDManager manager = vectors.getManager();
      long blocks = vectors.getShape().get(0);
      long[] places = new long[size * (size - 1) / 2];
      int at = 0;
      for (int row = 0; row < size; row++) {
        for (int column = row + 1; column < size; column++) {
          places[at++] = (long) row * size + column;
        }
      }
      NDArray index =
          manager
              .create(places, new Shape(1, places.length))
              .broadcast(new Shape(blocks, places.length));
      NDArray upper =
          manager
              .zeros(new Shape(blocks, (long) size * size))
              .scatter(index, vectors, 1)
              .reshape(blocks, size, size);
      return upper.sub(upper.transpose(0, 2, 1));
    }

    /** Blocks whose Frobenius norm exceeds eps / sqrt(blocks) shrunk to it. */
    private NDArray projected(NDArray vectors) {
      NDManager manager = vectors.getManager();
      int blocks = (int) vectors.getShape().get(0);
      float[] values = vectors.toFloatArray();
      project(values, 0, blocks, values.length / blocks);
      return manager.create(values, vectors.getShape());
    }

    private void project(float[] values, int from, int blocks, int entries) {
      double limit = config.eps() / Math.sqrt(blocks);
      for (int block = 0; block < blocks; block++) {
        int start = from + block * entries;
        double squares = 0;
        for (int i = start; i < start + entries; i++) {
          squares += 2.0 * values[i] * values[i]; // once above, once below the diagonal
        }
        double norm = Math.sqrt(squares);
        for (int i = start; norm > limit && i < start + entries; i++) {
          values[i] = (float) (values[i] * limit / norm);
        }
      }
    }

    /** Keeps the parameters themselves in their ball, so that the optimiser goes on from there. */
    @Override
    public StepObserver observer(MethodState state, TrainingSpan span, ParameterLayout layout) {
      if (!config.coft()) {
        return StepObserver.NONE;
      }
      return new StepObserver() {
        @Override
        public Optional<MethodState> afterStep(Update update) {
          shapes()
              .forEach(
                  (name, shape) ->
                      project(
                          update.parameters(),
                          update.layout().entry(name).offset(),
                          shape.get(0),
                          shape.get(1)));
          return Optional.empty();
        }
      };
    }
  }
}
