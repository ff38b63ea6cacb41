package org.sparkpeft.core.peft.sharing;

import ai.djl.ndarray.NDArray;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.nn.Activation;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.BaseWeights;
import org.sparkpeft.core.peft.Insertion;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.MethodTensors;
import org.sparkpeft.core.peft.Modification;
import org.sparkpeft.core.peft.TensorRole;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * Bottleneck adapters of low-rank parameterised hypercomplex layers at the ends of blocks: {@code o
 * + up(act(down(o)))} for a block's output o. A layer is {@code y = x H + b} with {@code H [in,
 * out] = sum_i A_i kron (s_i t_i)}: rules {@code A [n, n, n]} shared by all layers, {@code s [n,
 * in/n, k]} and {@code t [n, k, out/n]} of its own. Rows of H go with x, unlike torch's Linear.
 *
 * @param settings sizes
 * @param hidden size of the residual stream
 * @param blocks paths of the adapted blocks' last layers
 */
record PhmAdapters(Settings settings, int hidden, List<String> blocks) implements AttachedMethod {
  static final String RULE = "shared.phm_rule";
  private static final double RULE_DEVIATION = 1e-4;

  /** See {@link Compacter.Config}. */
  record Settings(int phmDim, int phmRank, int reductionFactor, String nonLinearity) {
    void check(Problems problems) {
      problems
          .require(phmDim >= 1 && phmDim <= 64, "phm_dim", phmDim, "must be 1..64; usual is 4")
          .require(
              phmRank >= 1 && phmRank <= 512, "phm_rank", phmRank, "must be 1..512; usual is 1")
          .require(
              reductionFactor >= 1,
              "reduction_factor",
              reductionFactor,
              "must be 1 or more; usual is 32")
          .require(
              Activation.named(nonLinearity).isPresent(),
              "non_linearity",
              nonLinearity,
              "must be one of " + Activation.names());
    }
  }

  static PhmAdapters attach(Settings settings, ModuleTree modules, boolean afterAttention) {
    ModuleTree.Structure structure = modules.structure();
    if (structure.layers().isEmpty()) {
      throw new ConfigException(
          "peft_type", "this method acts on transformer blocks; the model's are not known");
    }
    if (structure.hidden() % settings.phmDim() != 0) {
      throw new ConfigException(
          "phm_dim",
          "must divide the hidden size " + structure.hidden() + ", got " + settings.phmDim());
    }
    List<String> blocks = new ArrayList<>();
    structure
        .layers()
        .forEach(
            layer -> {
              if (afterAttention) {
                blocks.add(layer.attentionOutput());
              }
              blocks.add(layer.output());
            });
    return new PhmAdapters(settings, structure.hidden(), List.copyOf(blocks));
  }

  /** {@code hidden / reduction_factor}, rounded down to a multiple of n, at least n. */
  private int bottleneck() {
    int n = settings.phmDim();
    return Math.max(n, hidden / settings.reductionFactor() / n * n);
  }

  /** One layer of an adapter. */
  private record Phm(String name, int in, int out) {
    String left() {
      return name + ".W_left";
    }

    String right() {
      return name + ".W_right";
    }

    String bias() {
      return name + ".b";
    }
  }

  private Phm down(String block) {
    return new Phm(block + ".compacter_down", hidden, bottleneck());
  }

  private Phm up(String block) {
    return new Phm(block + ".compacter_up", bottleneck(), hidden);
  }

  private List<Phm> layers() {
    return blocks.stream().flatMap(b -> java.util.stream.Stream.of(down(b), up(b))).toList();
  }

  @Override
  public Map<String, List<Integer>> shapes() {
    int n = settings.phmDim();
    int k = settings.phmRank();
    Map<String, List<Integer>> shapes = new LinkedHashMap<>();
    shapes.put(RULE, List.of(n, n, n));
    for (Phm layer : layers()) {
      shapes.put(layer.left(), List.of(n, layer.in() / n, k));
      shapes.put(layer.right(), List.of(n, k, layer.out() / n));
      shapes.put(layer.bias(), List.of(layer.out()));
    }
    return shapes;
  }

  /** Decay would shrink the rules, tiny as they start, to nothing. */
  @Override
  public TensorRole role(String tensor) {
    if (tensor.equals(RULE)) {
      return TensorRole.FACTOR.undecayed();
    }
    return tensor.endsWith(".b") ? TensorRole.LINEAR : TensorRole.FACTOR;
  }

  /** Rules N(0, 1e-4); s and t Glorot-uniform with gain sqrt 2, each slice by itself; biases 0. */
  @Override
  public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
    int n = settings.phmDim();
    int k = settings.phmRank();
    Map<String, float[]> values = new LinkedHashMap<>();
    values.put(RULE, Philox.of(seed, "phm rule").gaussian(n * n * n, RULE_DEVIATION));
    for (Phm layer : layers()) {
      Philox random = Philox.of(seed, "phm", Philox.hash(layer.name()));
      values.put(layer.left(), glorot(random.child(0), n, layer.in() / n, k));
      values.put(layer.right(), glorot(random.child(1), n, k, layer.out() / n));
      values.put(layer.bias(), new float[layer.out()]);
    }
    return values;
  }

  private static float[] glorot(Philox random, int slices, int rows, int columns) {
    float bound = (float) Math.sqrt(2 * 6.0 / (rows + columns));
    return random.uniform(slices * rows * columns, -bound, bound);
  }

  @Override
  public List<Modification> modifications(MethodTensors tensors, TuningContext context) {
    Activation activation = Activation.named(settings.nonLinearity()).orElseThrow();
    List<Modification> modifications = new ArrayList<>();
    for (String block : blocks) {
      modifications.add(
          new Modification.OnResidual(
              block,
              Insertion.SEQUENTIAL,
              (below, input, output) -> {
                NDArray low = activation.apply(apply(down(block), output, tensors));
                return below.apply(input, output.add(apply(up(block), low, tensors)));
              }));
    }
    return modifications;
  }

  private NDArray apply(Phm layer, NDArray x, MethodTensors tensors) {
    NDArray h =
        dense(
            tensors.parameter(RULE),
            tensors.parameter(layer.left()),
            tensors.parameter(layer.right()));
    return x.matMul(h).add(tensors.parameter(layer.bias()));
  }

  /**
   * {@code H [in, out]}.
   *
   * @param rules {@code [n, n, n]}
   * @param left {@code [n, in/n, k]}
   * @param right {@code [n, k, out/n]}
   */
  static NDArray dense(NDArray rules, NDArray left, NDArray right) {
    long n = rules.getShape().get(0);
    long rows = left.getShape().get(1);
    long columns = right.getShape().get(2);
    NDArray slices = left.batchMatMul(right).reshape(n, rows * columns); // B_i = s_i t_i
    NDArray blocks = rules.reshape(n, n * n).transpose().matMul(slices); // [n n, in/n out/n]
    return blocks
        .reshape(n, n, rows, columns) // p, q, u, v
        .transpose(0, 2, 1, 3)
        .reshape(n * rows, n * columns);
  }

  @Override
  public Optional<String> whyNotFused() {
    return Optional.of("an adapter with a non-linearity is no part of a linear layer");
  }

  @Override
  public Map<String, float[]> fuse(
      ParameterVector parameters, MethodState state, BaseWeights base) {
    throw new IllegalStateException(whyNotFused().orElseThrow());
  }
}
