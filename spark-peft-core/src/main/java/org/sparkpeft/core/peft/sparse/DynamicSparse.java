package org.sparkpeft.core.peft.sparse;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.SortedMap;
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
import org.sparkpeft.core.peft.RoundDecision;
import org.sparkpeft.core.peft.StepObserver;
import org.sparkpeft.core.peft.TargetModules;
import org.sparkpeft.core.peft.TargetSelection;
import org.sparkpeft.core.peft.TensorRole;
import org.sparkpeft.core.peft.TrainingSpan;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * Sparse training with a moving mask, after Dynamic Sparse Learning (Wang et al. 2024, arXiv
 * 2402.02855; prune and grow as in RigL, Evci et al. 2019, arXiv 1911.11134), on the difference to
 * the base: {@code W + scatter(v)} with {@code v [k]} in each matrix. Every {@code
 * update_frequency} updates the share u of entries with the smallest {@code |v|} dies and as many
 * grow where the dense gradient is largest, entries that just died included; what grows starts at
 * 0. u falls as a cosine from {@code initial_death_rate} to {@code final_death_rate}; its count is
 * rounded up. The density never changes.
 *
 * <p>In a federation clients report the dense gradient at the round's common start, and the driver
 * prunes and grows once a round.
 */
public final class DynamicSparse implements PeftMethod<DynamicSparse.Config> {

  /**
   * @param targetModules linear layers and embeddings to act on
   * @param excludeModules names to leave out
   * @param layersToTransform layer numbers to act on; empty means all
   * @param density share of each matrix's entries to train, in (0, 1]
   * @param updateFrequency updates between two changes of the mask
   * @param initialDeathRate share of entries that die at the start
   * @param finalDeathRate and at the end
   * @param modulesToSave modules trained in full
   */
  public record Config(
      TargetModules targetModules,
      List<String> excludeModules,
      List<Integer> layersToTransform,
      double density,
      int updateFrequency,
      double initialDeathRate,
      double finalDeathRate,
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
              updateFrequency >= 1,
              "update_frequency",
              updateFrequency,
              "must be at least 1 update; 100 is usual")
          .require(
              initialDeathRate > 0 && initialDeathRate <= 1,
              "initial_death_rate",
              initialDeathRate,
              "must be in (0, 1]; 0.5 is usual")
          .require(
              finalDeathRate >= 0 && finalDeathRate <= initialDeathRate,
              "final_death_rate",
              finalDeathRate,
              "must be from 0 to initial_death_rate; 0.005 is usual")
          .throwIfAny();
    }

    @Override
    public String peftType() {
      return "DYNAMIC_SPARSE";
    }

    /** Share of entries that die at a progress of the training in [0, 1]. */
    double deathRate(double progress) {
      double range = initialDeathRate - finalDeathRate;
      return finalDeathRate + range * (1 + Math.cos(Math.PI * progress)) / 2;
    }
  }

  @Override
  public String peftType() {
    return "DYNAMIC_SPARSE";
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

  /** One percent of query and value, changed every 100 updates. */
  @Override
  public Config defaults() {
    return new Config(
        TargetModules.of("query", "value"),
        List.of(),
        List.of(),
        0.01,
        100,
        0.5,
        0.005,
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
    return new Attached(
        config,
        SparseDelta.of(
            targets, m -> (int) Math.max(1, config.density() * ((double) m.in() * m.out()))));
  }

  private record Attached(Config config, SparseDelta delta) implements AttachedMethod {

    @Override
    public Map<String, List<Integer>> shapes() {
      return delta.shapes();
    }

    @Override
    public MethodState initialState(long seed, BaseWeights base) {
      return SlotSteering.initial(delta, seed);
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
    public StepObserver observer(MethodState state, TrainingSpan span, ParameterLayout layout) {
      return new PruneAndGrow(config, delta, state, span);
    }

    @Override
    public RoundDecision.Output decide(MethodState state, RoundDecision.Input input) {
      return SlotSteering.change(
          delta,
          state,
          input,
          site -> deaths(config, site, input.progress()),
          anew(site -> growth(Checks.report(input, site.weight(), site.size()))));
    }

    @Override
    public Map<String, float[]> fuse(
        ParameterVector parameters, MethodState state, BaseWeights base) {
      return delta.fuse(parameters, state, base);
    }

    @Override
    public SortedMap<String, TensorData> save(ParameterVector parameters, MethodState state) {
      return delta.save(parameters, state);
    }

    @Override
    public Loaded load(AdapterTensors file, BaseWeights base) {
      return SlotSteering.learnt(delta.load(file));
    }
  }

  private static int deaths(Config config, SparseDelta.Site site, double progress) {
    return (int) Math.ceil(config.deathRate(progress) * site.count() - 1e-9);
  }

  private static SlotSteering.Move anew(SlotSteering.Move move) {
    return move.anew();
  }

  private static SlotChange.Growth growth(float[] gradient) {
    float[] magnitudes = EntrySelection.magnitudes(gradient);
    return (kept, dropped, count) -> EntrySelection.largest(magnitudes, count, kept);
  }

  /** Asks for the dense gradient where the mask changes; changes it when it is alone. */
  private static final class PruneAndGrow implements StepObserver {
    private final Config config;
    private final SparseDelta delta;
    private final TrainingSpan span;
    private final Map<String, float[]> gradients = new LinkedHashMap<>();
    private MethodState state;

    PruneAndGrow(Config config, SparseDelta delta, MethodState state, TrainingSpan span) {
      this.config = config;
      this.delta = delta;
      this.state = state;
      this.span = span;
    }

    private boolean watches(int update) {
      return span.alone() ? (update + 1) % config.updateFrequency() == 0 : update == 0;
    }

    @Override
    public boolean wants(String probe, int update) {
      return watches(update) && delta.sites().stream().anyMatch(s -> s.weight().equals(probe));
    }

    @Override
    public void beforeStep(Update update) {
      if (watches(update.update())) {
        delta
            .sites()
            .forEach(
                site -> {
                  float[] gradient = update.probes().get(site.weight());
                  gradients.put(
                      site.weight(), gradient == null ? new float[site.size()] : gradient);
                });
      }
    }

    @Override
    public Optional<MethodState> afterStep(Update update) {
      if (!span.alone() || !watches(update.update())) {
        return Optional.empty();
      }
      double progress = (update.update() + 1.0) / span.updates();
      Optional<MethodState> changed =
          SlotSteering.change(
              delta,
              state,
              update,
              site -> deaths(config, site, progress),
              anew(site -> growth(Objects.requireNonNull(gradients.get(site.weight())))),
              (site, slot, index) ->
                  update.moments().restart(SlotSteering.offset(update, site) + slot, 0, 0, 0));
      gradients.clear();
      state = changed.orElse(state);
      return changed;
    }

    @Override
    public Map<String, float[]> report() {
      return span.alone() ? Map.of() : gradients;
    }
  }
}
