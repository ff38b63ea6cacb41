package org.sparkpeft.core.peft.reparam;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.index.NDIndex;
import ai.djl.ndarray.types.Shape;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import org.sparkpeft.core.engine.Scalars;
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
 * WaveFT (Bilican et al. 2025, arXiv 2505.12532): {@code W + scaling S} where S is the inverse
 * discrete wavelet transform, of one level, of a matrix that is zero but for n trained numbers at
 * random places, the same for layers of one size. The coefficients are put into the middle of a
 * matrix larger by the wavelet's border; their halves are low and high-pass. Starts with zeros, as
 * the base.
 */
public final class WaveFt implements PeftMethod<WaveFt.Config> {

  /**
   * The settings, under Hugging Face's names.
   *
   * @param nFrequency trained numbers of a layer
   * @param scaling factor on the change
   * @param waveletFamily {@code db1} to {@code db10}, {@code sym2} to {@code sym10}, {@code coif1}
   *     to {@code coif4}
   * @param useIdwt false takes the sparse matrix itself as the change
   * @param randomLocSeed seed of the places, which are those that PyTorch draws
   * @param targetModules linear layers acted on
   * @param excludeModules names to leave out
   * @param bias {@code none}, or {@code waveft_only} to train the layers' biases
   * @param modulesToSave modules trained in full
   * @param layersToTransform layer numbers; empty means all
   * @param nFrequencyPattern trained numbers by pattern of module names
   * @param proportionalParameters whether layers share their numbers by size instead
   * @param initWeights false starts from N(0, 0.01), so the output changes at once
   */
  public record Config(
      int nFrequency,
      double scaling,
      String waveletFamily,
      boolean useIdwt,
      long randomLocSeed,
      TargetModules targetModules,
      List<String> excludeModules,
      String bias,
      List<String> modulesToSave,
      List<Integer> layersToTransform,
      Map<String, Integer> nFrequencyPattern,
      boolean proportionalParameters,
      boolean initWeights)
      implements PeftConfig {

    public Config {
      excludeModules = List.copyOf(excludeModules);
      modulesToSave = List.copyOf(modulesToSave);
      layersToTransform = List.copyOf(layersToTransform);
      nFrequencyPattern = Checks.ordered(nFrequencyPattern);
      Problems problems = new Problems();
      problems.require(nFrequency >= 1, "n_frequency", nFrequency, "must be at least 1");
      Checks.finite(problems, "scaling", scaling);
      Checks.oneOf(problems, "wavelet_family", waveletFamily, List.copyOf(Wavelet.all().keySet()));
      Checks.bias(problems, bias);
      Checks.layers(problems, layersToTransform);
      Checks.wholePatterns(problems, "n_frequency_pattern", nFrequencyPattern, Integer.MAX_VALUE);
      problems.throwIfAny();
    }

    @Override
    public String peftType() {
      return "WAVEFT";
    }
  }

  private static Config config(int nFrequency, List<String> modulesToSave) {
    return new Config(
        nFrequency,
        25,
        "db1",
        true,
        777,
        TargetModules.of("query", "value"),
        List.of(),
        "none",
        modulesToSave,
        List.of(),
        Map.of(),
        false,
        true);
  }

  @Override
  public String peftType() {
    return "WAVEFT";
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
    return config(2592, List.of("classifier"));
  }

  @Override
  public Config fileDefaults() {
    return config(2592, List.of());
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
    Attached attached = new Attached(config, layers);
    layers.forEach(attached::impliedPlaces);
    return TrainedBiases.of(config.bias(), attached, layers);
  }

  private record Attached(Config config, List<ModuleSpec> layers) implements LocatedMethod {

    @Override
    public boolean startsAsBase() {
      return config.initWeights();
    }

    @Override
    public int count(ModuleSpec layer) {
      if (!config.proportionalParameters()) {
        return Layers.first(config.nFrequencyPattern(), layer.path(), config.nFrequency());
      }
      double all = 0;
      for (ModuleSpec one : layers) {
        all += (double) one.in() * one.out();
      }
      double share = (double) layer.in() * layer.out() / all;
      double count = Math.rint(share * ((double) config.nFrequency() * layers.size()));
      return (int) Math.max(1, count);
    }

    @Override
    public String trained(ModuleSpec layer) {
      return layer.path() + ".waveft_spectrum";
    }

    @Override
    public String placed(ModuleSpec layer) {
      return layer.path() + ".waveft_indices";
    }

    @Override
    public Optional<int[]> impliedPlaces(ModuleSpec layer) {
      return Optional.of(
          Locations.ofSeed(layer, "n_frequency", count(layer), config.randomLocSeed()));
    }

    @Override
    public int[] freePlaces(ModuleSpec layer, long seed) {
      throw new IllegalStateException("random_loc_seed implies the places");
    }

    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      Map<String, float[]> values = new LinkedHashMap<>();
      shapes()
          .forEach(
              (name, shape) -> {
                Philox random = Philox.of(seed, "waveft", Philox.hash(name));
                values.put(
                    name,
                    config.initWeights()
                        ? new float[shape.get(0)]
                        : random.gaussian(shape.get(0), 0.01));
              });
      return values;
    }

    /** Size of a side of the coefficients: an even number. */
    private static long padded(int size, Wavelet wavelet) {
      long padded = (long) size + wavelet.border();
      return padded + padded % 2;
    }

    @Override
    public NDArray weight(
        ModuleSpec layer, NDArray weight, MethodTensors tensors, Optional<TuningContext> training) {
      NDArray change = config.useIdwt() ? transformed(layer, tensors) : dense(layer, tensors);
      return Scalars.times(change, (float) config.scaling()).add(weight);
    }

    private NDArray transformed(ModuleSpec layer, MethodTensors tensors) {
      Wavelet wavelet = Objects.requireNonNull(Wavelet.all().get(config.waveletFamily()));
      long rows = padded(layer.out(), wavelet);
      long columns = padded(layer.in(), wavelet);
      long above = (rows - layer.out()) / 2;
      long left = (columns - layer.in()) / 2;
      NDArray trained = dense(layer, tensors);
      NDArray middle = padded(trained, above, rows - layer.out() - above, 0);
      middle = padded(middle, left, columns - layer.in() - left, 1);
      // Hugging Face's upper right quarter is high-pass along rows, the lower left along columns.
      NDList halves = middle.split(2, 0);
      NDList upper = halves.get(0).split(2, 1);
      NDList lower = halves.get(1).split(2, 1);
      NDArray swapped =
          upper.get(0).concat(lower.get(0), 1).concat(upper.get(1).concat(lower.get(1), 1), 0);
      NDArray change = wavelet.inverse(swapped);
      long top = (change.getShape().get(0) - layer.out()) / 2;
      long side = (change.getShape().get(1) - layer.in()) / 2;
      return change.get(
          new NDIndex(top + ":" + (top + layer.out()) + ", " + side + ":" + (side + layer.in())));
    }

    /** With zeros before and after. */
    private static NDArray padded(NDArray matrix, long before, long after, int axis) {
      NDArray padded = matrix;
      if (before > 0) {
        padded = zeros(matrix, before, axis).concat(padded, axis);
      }
      return after > 0 ? padded.concat(zeros(matrix, after, axis), axis) : padded;
    }

    private static NDArray zeros(NDArray matrix, long size, int axis) {
      Shape shape = matrix.getShape();
      return matrix
          .getManager()
          .zeros(axis == 0 ? new Shape(size, shape.get(1)) : new Shape(shape.get(0), size));
    }
  }
}
