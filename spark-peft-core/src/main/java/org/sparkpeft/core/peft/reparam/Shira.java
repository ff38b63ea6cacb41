package org.sparkpeft.core.peft.reparam;

import ai.djl.ndarray.NDArray;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SortedMap;
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
 * SHiRA, sparse high-rank adapters (Bhardwaj et al. 2024, arXiv 2406.13175): {@code W + S} where S
 * has {@code r (in + out)} trained entries at random places, as many as LoRA of rank r would train.
 * Starts with zeros, as the base. The places are the same on every client.
 */
public final class Shira implements PeftMethod<Shira.Config> {
  private static final int NO_SEED = -1;

  /**
   * The settings, under Hugging Face's names.
   *
   * @param r rank of the LoRA with as many parameters
   * @param maskType {@code random}, the only one that a file can name
   * @param randomSeed seed of the places, which are then those that PyTorch draws; -1, null in
   *     files, for places that follow from the run's seed
   * @param targetModules linear layers acted on
   * @param initWeights false starts with N(0, 1), so the output changes at once
   * @param modulesToSave modules trained in full
   */
  public record Config(
      int r,
      String maskType,
      long randomSeed,
      TargetModules targetModules,
      boolean initWeights,
      List<String> modulesToSave)
      implements PeftConfig {

    public Config {
      modulesToSave = List.copyOf(modulesToSave);
      Problems problems = new Problems();
      Checks.rank(problems, r);
      Checks.oneOf(problems, "mask_type", maskType, List.of("random"));
      problems.require(
          randomSeed >= NO_SEED, "random_seed", randomSeed, "must be at least 0, or -1 for none");
      problems.throwIfAny();
    }

    @Override
    public String peftType() {
      return "SHIRA";
    }
  }

  /** Hugging Face's rank of 32 trains too many entries of a small layer. */
  @Override
  public Config defaults() {
    return new Config(
        4, "random", NO_SEED, TargetModules.of("query", "value"), true, List.of("classifier"));
  }

  @Override
  public Config fileDefaults() {
    return new Config(32, "random", NO_SEED, TargetModules.of("query", "value"), true, List.of());
  }

  @Override
  public String peftType() {
    return "SHIRA";
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
    return Map.of("fan_in_fan_out", false);
  }

  @Override
  public SortedMap<String, Object> writeConfig(Config config) {
    SortedMap<String, Object> fields = PeftMethod.super.writeConfig(config);
    if (config.randomSeed() == NO_SEED) {
      fields.put("random_seed", null);
    }
    return fields;
  }

  @Override
  public AttachedMethod attach(Config config, ModuleTree modules) {
    List<ModuleSpec> layers = Layers.linear(modules, config.targetModules(), List.of(), List.of());
    for (ModuleSpec layer : layers) {
      long size = (long) layer.out() * layer.in();
      long count = (long) config.r() * (layer.out() + layer.in());
      if (count > size) {
        throw new ConfigException(
            "r",
            "trains r (in + out) = "
                + count
                + " entries, but "
                + layer.path()
                + " has "
                + size
                + "; r must be at most "
                + size / (layer.out() + layer.in()));
      }
    }
    return new Attached(config, layers);
  }

  private record Attached(Config config, List<ModuleSpec> layers) implements LocatedMethod {

    @Override
    public int count(ModuleSpec layer) {
      return config.r() * (layer.out() + layer.in());
    }

    @Override
    public String trained(ModuleSpec layer) {
      return layer.path() + ".shira_weight";
    }

    @Override
    public String placed(ModuleSpec layer) {
      return layer.path() + ".shira_indices";
    }

    /** In order of place, as a mask would list them. */
    @Override
    public Optional<int[]> impliedPlaces(ModuleSpec layer) {
      if (config.randomSeed() == NO_SEED) {
        return Optional.empty();
      }
      int[] places = Locations.ofSeed(layer, "r", count(layer), config.randomSeed());
      Arrays.sort(places);
      return Optional.of(places);
    }

    @Override
    public int[] freePlaces(ModuleSpec layer, long seed) {
      Philox random = Philox.of(seed, "shira places", Philox.hash(layer.path()));
      int[] all = random.permutation(Math.multiplyExact(layer.out(), layer.in()));
      int[] places = Arrays.copyOf(all, count(layer));
      Arrays.sort(places);
      return places;
    }

    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      Map<String, float[]> values = new LinkedHashMap<>();
      shapes()
          .forEach(
              (name, shape) -> {
                Philox random = Philox.of(seed, "shira", Philox.hash(name));
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
      return dense(layer, tensors).add(weight);
    }
  }
}
