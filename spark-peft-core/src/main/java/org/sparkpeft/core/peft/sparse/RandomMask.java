package org.sparkpeft.core.peft.sparse;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.function.ToIntFunction;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.peft.AdapterTensors;
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
 * A fixed random mask: {@code W + scatter(v)} at entries that {@code mask_seed}, the module's path
 * and the entry's number decide, so only {@code v} travels. Random masks are surprisingly strong
 * (Xu and Zhang 2024, arXiv 2405.02596), and want a larger rate the sparser they are. {@code exact}
 * takes the share {@code density} of each matrix, rounded down but at least one entry; {@code
 * bernoulli} takes each entry with that probability.
 *
 * <p>Clients with the same seed have the same mask, so averages of v are exact, and adapters of the
 * same seed add entry by entry. A file holds {@code <module>.sparse_values} alone, in ascending
 * order of the entries.
 */
public final class RandomMask implements PeftMethod<RandomMask.Config> {

  /**
   * @param targetModules linear layers and embeddings to act on
   * @param excludeModules names to leave out
   * @param layersToTransform layer numbers to act on; empty means all
   * @param density share of entries to train, in (0, 1]
   * @param sampling {@code exact} or {@code bernoulli}
   * @param maskSeed what the mask is drawn from
   * @param modulesToSave modules trained in full
   */
  public record Config(
      TargetModules targetModules,
      List<String> excludeModules,
      List<Integer> layersToTransform,
      double density,
      String sampling,
      long maskSeed,
      List<String> modulesToSave)
      implements PeftConfig {
    public Config {
      excludeModules = List.copyOf(excludeModules);
      layersToTransform = List.copyOf(layersToTransform);
      modulesToSave = List.copyOf(modulesToSave);
      Problems problems = new Problems();
      Checks.density(problems, "density", density);
      problems
          .require(
              List.of("exact", "bernoulli").contains(sampling),
              "sampling",
              sampling,
              "must be exact or bernoulli")
          .throwIfAny();
    }

    @Override
    public String peftType() {
      return "RANDOM_MASK";
    }

    private int[] mask(ModuleSpec module) {
      int size = Math.multiplyExact(module.in(), module.out());
      Philox random = Philox.of(maskSeed, "random mask", Philox.hash(module.path()));
      return sampling.equals("exact")
          ? EntrySelection.random(random, size, (int) Math.max(1, density * size))
          : EntrySelection.bernoulli(random, size, density);
    }
  }

  @Override
  public String peftType() {
    return "RANDOM_MASK";
  }

  @Override
  public Class<Config> configType() {
    return Config.class;
  }

  @Override
  public MethodClass methodClass() {
    return MethodClass.SELECTIVE;
  }

  @Override
  public double usualRate() {
    return 3;
  }

  /** One percent of query and value. */
  @Override
  public Config defaults() {
    return new Config(
        TargetModules.of("query", "value"),
        List.of(),
        List.of(),
        0.01,
        "exact",
        0,
        List.of("classifier"));
  }

  @Override
  public AttachedMethod attach(Config config, ModuleTree modules) {
    List<ModuleSpec> targets =
        TargetSelection.select(
            modules,
            config.targetModules(),
            config.excludeModules(),
            config.layersToTransform(),
            SparseDelta.KINDS);
    ToIntFunction<ModuleSpec> count = module -> config.mask(module).length;
    return new Attached(config, SparseDelta.of(targets, count));
  }

  private record Attached(Config config, SparseDelta delta) implements AttachedMethod {

    @Override
    public Map<String, List<Integer>> shapes() {
      return delta.shapes();
    }

    /** Depends on the mask's seed, not on the run's. */
    @Override
    public MethodState initialState(long seed, BaseWeights base) {
      Map<String, int[]> indices = new LinkedHashMap<>();
      delta.sites().forEach(site -> indices.put(site.indices(), config.mask(site.module())));
      return delta.state(indices);
    }

    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      return delta.zeros();
    }

    @Override
    public List<Modification> modifications(MethodTensors tensors, TuningContext context) {
      return delta.modifications(tensors, context);
    }

    @Override
    public TensorRole role(String tensor) {
      return TensorRole.LINEAR;
    }

    @Override
    public Map<String, float[]> fuse(
        ParameterVector parameters, MethodState state, BaseWeights base) {
      return delta.fuse(parameters, state, base);
    }

    @Override
    public SortedMap<String, TensorData> save(ParameterVector parameters, MethodState state) {
      SortedMap<String, TensorData> file = delta.save(parameters, state);
      delta.sites().forEach(site -> file.remove(AdapterTensors.PREFIX + site.indices()));
      return file;
    }

    @Override
    public Loaded load(AdapterTensors file, BaseWeights base) {
      return new Loaded(file.takeAll(shapes()), initialState(0, base));
    }
  }
}
