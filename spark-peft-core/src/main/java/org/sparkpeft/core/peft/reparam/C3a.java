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
import org.sparkpeft.core.peft.Modification;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethod;
import org.sparkpeft.core.peft.TargetModules;
import org.sparkpeft.core.peft.TensorRole;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;

/**
 * C3A, circular convolution (Chen et al. 2024, arXiv 2407.19342): {@code W + C / in}, C made of
 * circulant blocks of size b; entry (p, q) of a block is entry {@code (q - p) mod b} of its trained
 * kernel, {@code [out / b, in / b, b]} for a layer. Random kernels change the output at the start.
 * Linear in the kernels, so averages of clients are exact.
 *
 * <p>Training follows Hugging Face's backward pass to get the same numbers: the gradient with
 * respect to the kernels is exact, but what the branch passes on to lower layers is that of a block
 * with entries {@code (p + q) mod b}. Kernels are divided by the number of inputs, so it matters
 * little.
 */
public final class C3a implements PeftMethod<C3a.Config> {

  /**
   * The settings, under Hugging Face's names.
   *
   * @param blockSize size b of a block, which must divide a layer's inputs and outputs
   * @param targetModules linear layers acted on
   * @param bias {@code none}, or {@code c3a_only} to train the layers' biases
   * @param modulesToSave modules trained in full
   * @param layersToTransform layer numbers; empty means all
   * @param blockSizePattern block size by pattern of module names
   * @param initWeights {@code xavier_uniform}, {@code kaiming_uniform}, {@code gaussian}, {@code
   *     true} for zeros, or {@code false}, which is xavier_uniform
   */
  public record Config(
      int blockSize,
      TargetModules targetModules,
      String bias,
      List<String> modulesToSave,
      List<Integer> layersToTransform,
      Map<String, Integer> blockSizePattern,
      String initWeights)
      implements PeftConfig {

    public Config {
      modulesToSave = List.copyOf(modulesToSave);
      layersToTransform = List.copyOf(layersToTransform);
      blockSizePattern = Checks.ordered(blockSizePattern);
      Problems problems = new Problems();
      problems.require(blockSize >= 1, "block_size", blockSize, "must be at least 1");
      Checks.bias(problems, bias);
      Checks.layers(problems, layersToTransform);
      Checks.wholePatterns(problems, "block_size_pattern", blockSizePattern, Integer.MAX_VALUE);
      Checks.oneOf(
          problems,
          "init_weights",
          initWeights,
          List.of("xavier_uniform", "kaiming_uniform", "gaussian", "true", "false"));
      problems.throwIfAny();
    }

    @Override
    public String peftType() {
      return "C3A";
    }
  }

  private static Config config(int blockSize, List<String> modulesToSave) {
    return new Config(
        blockSize,
        TargetModules.of("query", "value"),
        "none",
        modulesToSave,
        List.of(),
        Map.of(),
        "xavier_uniform");
  }

  /** Hugging Face's block of 256 does not divide the sides of small models' layers. */
  @Override
  public Config defaults() {
    return config(4, List.of("classifier"));
  }

  @Override
  public Config fileDefaults() {
    return config(256, List.of());
  }

  @Override
  public String peftType() {
    return "C3A";
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
  public Map<String, Object> inertFields() {
    return Checks.inert();
  }

  @Override
  public AttachedMethod attach(Config config, ModuleTree modules) {
    List<ModuleSpec> layers =
        Layers.linear(modules, config.targetModules(), List.of(), config.layersToTransform());
    Attached attached = new Attached(config, layers);
    for (ModuleSpec layer : layers) {
      int size = attached.size(layer);
      if (layer.in() % size != 0 || layer.out() % size != 0) {
        throw new ConfigException(
            "block_size",
            "must divide the "
                + layer.in()
                + " inputs and "
                + layer.out()
                + " outputs of "
                + layer.path()
                + ", got "
                + size);
      }
    }
    return TrainedBiases.of(config.bias(), attached, layers);
  }

  private record Attached(Config config, List<ModuleSpec> layers) implements WeightMethod {
    @Override
    public boolean startsAsBase() {
      return config.initWeights().equals("true");
    }

    int size(ModuleSpec layer) {
      return Layers.firstAfterDot(config.blockSizePattern(), layer.path(), config.blockSize());
    }

    private static String name(ModuleSpec layer) {
      return layer.path() + ".c3a_kernel";
    }

    @Override
    public Map<String, List<Integer>> shapes() {
      Map<String, List<Integer>> shapes = new LinkedHashMap<>();
      for (ModuleSpec layer : layers) {
        int size = size(layer);
        shapes.put(name(layer), List.of(layer.out() / size, layer.in() / size, size));
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
      for (ModuleSpec layer : layers) {
        int size = layer.out() / size(layer) * layer.in();
        Philox random = Philox.of(seed, "c3a", Philox.hash(layer.path()));
        values.put(
            name(layer),
            switch (config.initWeights()) {
              case "true" -> new float[size];
              case "gaussian" -> random.gaussian(size, 1);
              case "kaiming_uniform" -> Layers.kaiming(random, size, layer.in());
              default -> {
                float bound = (float) Math.sqrt(6.0 / (layer.in() + layer.out()));
                yield random.uniform(size, -bound, bound);
              }
            });
      }
      return values;
    }

    /**
     * Convolves by Fourier transforms, frequency by frequency: {@code in out / b} products instead
     * of {@code in out} for each token.
     */
    @Override
    public List<Modification> modifications(MethodTensors tensors, TuningContext context) {
      List<Modification> modifications = new ArrayList<>();
      for (ModuleSpec layer : layers) {
        NDArray kernel = tensors.parameter(name(layer));
        NDArray spectrum = kernel.fft(size(layer)).transpose(2, 1, 0); // [b, in / b, out / b]
        modifications.add(
            Modification.parallel(
                layer.path(),
                x ->
                    context.training()
                        ? trained(layer, x, spectrum)
                        : forward(layer, x, product(layer, x, spectrum))));
      }
      return modifications;
    }

    private NDArray trained(ModuleSpec layer, NDArray x, NDArray spectrum) {
      NDArray output = forward(layer, x, product(layer, x.stopGradient(), spectrum));
      NDArray passed = reversed(layer, x, product(layer, x, spectrum.stopGradient()));
      return output.add(passed.sub(passed.stopGradient()));
    }

    /** Products of frequencies, {@code [rows, out / b, b]}. */
    private NDArray product(ModuleSpec layer, NDArray x, NDArray spectrum) {
      int size = size(layer);
      NDArray inputs = x.reshape(-1, layer.in() / size, size).ifft(size).transpose(2, 0, 1);
      return inputs.matMul(spectrum).transpose(1, 2, 0);
    }

    private NDArray forward(ModuleSpec layer, NDArray x, NDArray product) {
      return outputs(layer, x, product.fft(size(layer)), 1);
    }

    /** With the entries of each block in reverse, the first staying first. */
    private NDArray reversed(ModuleSpec layer, NDArray x, NDArray product) {
      return outputs(layer, x, product.ifft(size(layer)), size(layer));
    }

    /** Real parts as outputs of the layer, divided by the number of inputs. */
    private static NDArray outputs(ModuleSpec layer, NDArray x, NDArray complex, int factor) {
      NDArray real = complex.real().get(new NDIndex("..., 0"));
      Shape shape = x.getShape().slice(0, x.getShape().dimension() - 1).add(layer.out());
      return Scalars.times(real.reshape(shape), (float) factor / layer.in());
    }

    @Override
    public NDArray weight(
        ModuleSpec layer, NDArray weight, MethodTensors tensors, Optional<TuningContext> training) {
      NDArray kernel = tensors.parameter(name(layer)); // [out / b, in / b, b]
      NDManager manager = kernel.getManager();
      int size = size(layer);
      long rows = layer.out() / size;
      long columns = layer.in() / size;
      long entries = (long) size * size;
      long[] shifts = new long[size * size];
      for (int p = 0; p < size; p++) {
        for (int q = 0; q < size; q++) {
          shifts[p * size + q] = Math.floorMod(q - p, size);
        }
      }
      NDArray index =
          manager
              .create(shifts, new Shape(1, 1, entries))
              .broadcast(new Shape(rows, columns, entries));
      NDArray blocks = kernel.gather(index, 2).reshape(rows, columns, size, size);
      NDArray circulant = blocks.transpose(0, 2, 1, 3).reshape(layer.out(), layer.in());
      return Scalars.times(circulant, 1.0f / layer.in()).add(weight);
    }
  }
}
