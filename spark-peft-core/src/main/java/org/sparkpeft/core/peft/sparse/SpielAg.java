package org.sparkpeft.core.peft.sparse;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
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
 * SpIEL with accumulated gradients (Ansell et al. 2024, arXiv 2401.16405): {@code W + scatter(v)}
 * with {@code v [k]} in each matrix. Every {@code reselection_steps} updates the share p of slots
 * with the smallest {@code |v|} moves to the entries whose gradient, summed over a window, is
 * largest. Candidates are the k largest entries of the window's first dense gradient. A new slot
 * starts at 0 with Adam's moments as if it had seen the window.
 *
 * <p>Gradients of the window are those of whole updates, before clipping; the public code adds up
 * those of micro-batches. In a federation the first window of each client's training is reported
 * (zero but at its candidates), and the driver moves slots by the sum, once a round, so that all
 * clients have the same entries.
 */
public final class SpielAg implements PeftMethod<SpielAg.Config> {

  /**
   * @param targetModules linear layers and embeddings to act on
   * @param excludeModules names to leave out
   * @param layersToTransform layer numbers to act on; empty means all
   * @param numTunableWeights entries to train in all; 0 means {@code density} decides
   * @param density entries to train as a share of the base's parameters, in (0, 1]
   * @param reselectionSteps updates between selections
   * @param selectionAccumulationSteps updates of a window
   * @param initialReselectionRate share of slots to move, falling to 0
   * @param reselectionRatePolicy {@code linear} or {@code cosine}
   * @param modulesToSave modules trained in full
   */
  public record Config(
      TargetModules targetModules,
      List<String> excludeModules,
      List<Integer> layersToTransform,
      int numTunableWeights,
      double density,
      int reselectionSteps,
      int selectionAccumulationSteps,
      double initialReselectionRate,
      String reselectionRatePolicy,
      List<String> modulesToSave)
      implements PeftConfig {
    public Config {
      excludeModules = List.copyOf(excludeModules);
      layersToTransform = List.copyOf(layersToTransform);
      modulesToSave = List.copyOf(modulesToSave);
      Problems problems = new Problems();
      Checks.budget(problems, numTunableWeights, density);
      new SpielSchedule(
              reselectionSteps,
              selectionAccumulationSteps,
              initialReselectionRate,
              reselectionRatePolicy)
          .check(problems);
      problems.throwIfAny();
    }

    @Override
    public String peftType() {
      return "SPIEL_AG";
    }

    SpielSchedule schedule() {
      return new SpielSchedule(
          reselectionSteps,
          selectionAccumulationSteps,
          initialReselectionRate,
          reselectionRatePolicy);
    }
  }

  @Override
  public String peftType() {
    return "SPIEL_AG";
  }

  @Override
  public Class<Config> configType() {
    return Config.class;
  }

  @Override
  public MethodClass methodClass() {
    return MethodClass.SELECTIVE;
  }

  /** One percent of the base in query and value, moved every 20 updates. */
  @Override
  public Config defaults() {
    return new Config(
        TargetModules.of("query", "value"),
        List.of(),
        List.of(),
        0,
        0.01,
        20,
        5,
        0.2,
        "linear",
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
    double entries = Checks.entries(modules, config.numTunableWeights(), config.density());
    return new Attached(config, SlotSteering.share(targets, entries));
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
      return new Window(config.schedule(), delta, state, span);
    }

    @Override
    public RoundDecision.Output decide(MethodState state, RoundDecision.Input input) {
      double rate = config.schedule().rate(SlotSteering.first(state), input.progress());
      return SlotSteering.change(
          delta,
          state,
          input,
          SlotSteering.share(rate),
          site -> SlotSteering.byMagnitude(Checks.report(input, site.weight(), site.size())));
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

  /** Watches candidates; moves slots when it is alone. */
  private static final class Window implements StepObserver {
    private final SpielSchedule schedule;
    private final SparseDelta delta;
    private final TrainingSpan span;
    private final Map<String, Candidates> candidates = new LinkedHashMap<>();
    private MethodState state;

    Window(SpielSchedule schedule, SparseDelta delta, MethodState state, TrainingSpan span) {
      this.schedule = schedule;
      this.delta = delta;
      this.state = state;
      this.span = span;
    }

    private boolean watches(int update) {
      return span.alone() ? schedule.watches(update) : update < schedule.window();
    }

    @Override
    public boolean wants(String probe, int update) {
      return watches(update) && delta.sites().stream().anyMatch(s -> s.weight().equals(probe));
    }

    @Override
    public void beforeStep(Update update) {
      if (!watches(update.update())) {
        return;
      }
      for (SparseDelta.Site site : delta.sites()) {
        float[] gradient = update.probes().get(site.weight());
        if (gradient != null) {
          candidates
              .computeIfAbsent(site.weight(), name -> Candidates.of(gradient, site.count()))
              .add(gradient);
        }
      }
    }

    @Override
    public Optional<MethodState> afterStep(Update update) {
      int completed = update.update() + 1;
      if (!span.alone() || !schedule.selects(completed)) {
        return Optional.empty();
      }
      double progress = (double) completed / span.updates();
      double rate = schedule.rate(SlotSteering.first(state), progress);
      Optional<MethodState> changed =
          SlotSteering.change(
              delta,
              state,
              update,
              SlotSteering.share(rate),
              site -> SlotSteering.byMagnitude(dense(site)),
              (site, slot, index) ->
                  watched(site)
                      .seed(update.moments(), SlotSteering.offset(update, site) + slot, index));
      candidates.clear();
      state = changed.orElse(state);
      return changed;
    }

    private Candidates watched(SparseDelta.Site site) {
      Candidates own = candidates.get(site.weight());
      return own == null ? Candidates.of(new float[0], 0) : own;
    }

    private float[] dense(SparseDelta.Site site) {
      return watched(site).dense(site.size());
    }

    @Override
    public Map<String, float[]> report() {
      Map<String, float[]> report = new LinkedHashMap<>();
      if (!span.alone()) {
        delta.sites().forEach(site -> report.put(site.weight(), dense(site)));
      }
      return report;
    }
  }
}
