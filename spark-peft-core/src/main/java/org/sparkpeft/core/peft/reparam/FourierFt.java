package org.sparkpeft.core.peft.reparam;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.index.NDIndex;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
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
 * FourierFT (Gao et al. 2024, arXiv 2405.03003): {@code W + scaling Re(ifft2(F))} where F {@code
 * [out, in]} is zero but for n trained numbers at random places, the same for layers of one size.
 * By default the numbers start from N(0, 1), as in the paper, so the output changes at once.
 */
public final class FourierFt implements PeftMethod<FourierFt.Config> {

  /**
   * The settings, under Hugging Face's names.
   *
   * @param nFrequency trained numbers of a layer
   * @param scaling factor on the change
   * @param randomLocSeed seed of the places, which are those that PyTorch draws
   * @param targetModules linear layers acted on
   * @param excludeModules names to leave out
   * @param bias {@code none}, or {@code fourier_only} to train the layers' biases
   * @param modulesToSave modules trained in full
   * @param layersToTransform layer numbers; empty means all
   * @param nFrequencyPattern trained numbers by pattern of module names
   * @param initWeights true starts with zeros, as the base
   */
  public record Config(
      int nFrequency,
      double scaling,
      long randomLocSeed,
      TargetModules targetModules,
      List<String> excludeModules,
      String bias,
      List<String> modulesToSave,
      List<Integer> layersToTransform,
      Map<String, Integer> nFrequencyPattern,
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
      Checks.bias(problems, bias);
      Checks.layers(problems, layersToTransform);
      Checks.wholePatterns(problems, "n_frequency_pattern", nFrequencyPattern, Integer.MAX_VALUE);
      problems.throwIfAny();
    }

    @Override
    public String peftType() {
      return "FOURIERFT";
    }
  }

  private static Config config(int nFrequency, List<String> modulesToSave) {
    return new Config(
        nFrequency,
        150,
        777,
        TargetModules.of("query", "value"),
        List.of(),
        "none",
        modulesToSave,
        List.of(),
        Map.of(),
        false);
  }

  @Override
  public String peftType() {
    return "FOURIERFT";
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
    return config(1000, List.of("classifier"));
  }

  @Override
  public Config fileDefaults() {
    return config(1000, List.of());
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
      return Layers.firstAfterDot(config.nFrequencyPattern(), layer.path(), config.nFrequency());
    }

    @Override
    public String trained(ModuleSpec layer) {
      return layer.path() + ".fourierft_spectrum";
    }

    @Override
    public String placed(ModuleSpec layer) {
      return layer.path() + ".indices";
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
                Philox random = Philox.of(seed, "fourierft", Philox.hash(name));
                values.put(
                    name,
                    config.initWeights()
                        ? new float[shape.get(0)]
                        : random.gaussian(shape.get(0), 1));
              });
      return values;
    }

    @Override
    public NDArray weight(
        ModuleSpec layer, NDArray weight, MethodTensors tensors, Optional<TuningContext> training) {
      long[] size = {layer.out(), layer.in()};
      NDArray complex = dense(layer, tensors).ifft2(size, new long[] {0, 1});
      NDArray change = complex.real().get(new NDIndex("..., 0")); // [out, in, 2] before
      return Scalars.times(change, (float) config.scaling()).add(weight);
    }
  }
}
