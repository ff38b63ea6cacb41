package org.sparkpeft.core.peft.sparse;

import java.util.Arrays;
import java.util.BitSet;
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
 * SpIEL with momentum approximation (Ansell et al. 2024, arXiv 2401.16405): {@code W + scatter(v)}
 * with {@code v [k]} in each matrix, trained by {@link Sm3}, whose row and column accumulators are
 * all it remembers. At a selection the share p of slots with the smallest {@code |v|} moves to the
 * entries outside the delta where the product of row and column accumulator is largest.
 *
 * <p>SM3 runs in the observer: other tensors, such as the head, keep the configured optimiser, and
 * its decay acts on v too. Accumulators are kept when slots move, and start anew in each round. In
 * a federation clients report them (rows + columns numbers a matrix), and the driver moves slots by
 * the products of their sums, once a round.
 */
public final class SpielMa implements PeftMethod<SpielMa.Config> {

  /**
   * @param targetModules linear layers and embeddings to act on
   * @param excludeModules names to leave out
   * @param layersToTransform layer numbers to act on; empty means all
   * @param numTunableWeights entries to train in all; 0 means {@code density} decides
   * @param density entries to train as a share of the base's parameters, in (0, 1]
   * @param reselectionSteps updates between selections
   * @param selectionAccumulationSteps updates before the first selection
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
      return "SPIEL_MA";
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
    return "SPIEL_MA";
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
      return new Training(config.schedule(), delta, state, span);
    }

    @Override
    public RoundDecision.Output decide(MethodState state, RoundDecision.Input input) {
      double rate = config.schedule().rate(SlotSteering.first(state), input.progress());
      return SlotSteering.change(
          delta,
          state,
          input,
          SlotSteering.share(rate),
          site ->
              growth(
                  Sm3.of(
                      Checks.report(input, rows(site), site.size() / site.columns()),
                      Checks.report(input, columns(site), site.columns()))));
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

  private static String rows(SparseDelta.Site site) {
    return site.weight() + ".rows";
  }

  private static String columns(SparseDelta.Site site) {
    return site.weight() + ".columns";
  }

  private static SlotChange.Growth growth(Sm3 sums) {
    return (kept, dropped, count) -> {
      BitSet active = (BitSet) kept.clone();
      active.or(dropped);
      return sums.grow(active, count);
    };
  }

  /** Is the optimiser of the delta; moves slots when it is alone. */
  private static final class Training implements StepObserver {
    private final SpielSchedule schedule;
    private final SparseDelta delta;
    private final TrainingSpan span;
    private final Map<SparseDelta.Site, Sm3> sums = new LinkedHashMap<>();
    private final Map<SparseDelta.Site, float[]> steps = new LinkedHashMap<>();
    private final Map<SparseDelta.Site, int[]> indices = new LinkedHashMap<>();
    private MethodState state;

    Training(SpielSchedule schedule, SparseDelta delta, MethodState state, TrainingSpan span) {
      this.schedule = schedule;
      this.delta = delta;
      this.state = state;
      this.span = span;
      for (SparseDelta.Site site : delta.sites()) {
        sums.put(site, new Sm3(site.size() / site.columns(), site.columns()));
      }
    }

    /** Takes the gradient away from the configured optimiser, which then only decays. */
    @Override
    public void beforeStep(Update update) {
      sums.forEach(
          (site, sum) -> {
            int from = SlotSteering.offset(update, site);
            int[] own = indices.computeIfAbsent(site, s -> state.integers(s.indices()));
            steps.put(site, sum.step(own, update.gradient(), from));
            Arrays.fill(update.gradient(), from, from + site.count(), 0);
          });
    }

    @Override
    public Optional<MethodState> afterStep(Update update) {
      steps.forEach(
          (site, step) -> {
            int from = SlotSteering.offset(update, site);
            for (int s = 0; s < step.length; s++) {
              update.parameters()[from + s] -= (float) (update.rate() * step[s]);
            }
          });
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
              site -> growth(Objects.requireNonNull(sums.get(site))),
              (site, slot, index) -> {});
      indices.clear();
      state = changed.orElse(state);
      return changed;
    }

    @Override
    public Map<String, float[]> report() {
      Map<String, float[]> report = new LinkedHashMap<>();
      if (!span.alone()) {
        sums.forEach(
            (site, own) -> {
              report.put(rows(site), own.rows());
              report.put(columns(site), own.columns());
            });
      }
      return report;
    }
  }
}
