package org.sparkpeft.core.peft.sparse;

import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.SortedMap;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.io.TensorData;
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
import org.sparkpeft.core.peft.TensorRole;
import org.sparkpeft.core.peft.TrainingSpan;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * Pivotal parameter tuning (after Chen et al. 2024, JEN-1 DreamStyler): trains {@code W + D} in
 * full, then keeps only the entries that change most for their size, {@code |D| / (|W| + epsilon)},
 * the best share of each tensor, resets the others to the base, and goes on; {@code selections}
 * times at even distances up to {@code selection_end}, the share falling geometrically to {@code
 * density}. The paper's schedule is not public [unverified]; this is ours.
 *
 * <p>In a federation clients report the scores after a round in which a selection is due, and the
 * driver selects by their sum.
 */
public final class Pivotal implements PeftMethod<Pivotal.Config> {

  /**
   * @param targetModules layers of any kind, outside the task head
   * @param excludeModules names to leave out
   * @param layersToTransform layer numbers to act on; empty means all
   * @param density share of each tensor that is trained in the end, in (0, 1]
   * @param selections how often entries are selected, 1..1000
   * @param selectionEnd progress in (0, 1) of the last selection
   * @param epsilon added to the magnitude of the base's entries
   * @param modulesToSave modules trained in full throughout, such as the head
   */
  public record Config(
      TargetModules targetModules,
      List<String> excludeModules,
      List<Integer> layersToTransform,
      double density,
      int selections,
      double selectionEnd,
      double epsilon,
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
              selections >= 1 && selections <= 1000, "selections", selections, "must be 1..1000")
          .require(
              selectionEnd > 0 && selectionEnd < 1,
              "selection_end",
              selectionEnd,
              "must be a share in (0, 1)")
          .require(epsilon > 0 && Double.isFinite(epsilon), "epsilon", epsilon, "must be above 0")
          .throwIfAny();
    }

    @Override
    public String peftType() {
      return "PIVOTAL";
    }

    /** Selections that are due at a progress. */
    int due(double progress) {
      return (int) Math.min(selections, Math.floor(progress / selectionEnd * selections + 1e-9));
    }

    /** Share of each tensor that is trained after so many selections. */
    double share(int selected) {
      return Math.pow(density, (double) selected / selections);
    }
  }

  @Override
  public String peftType() {
    return "PIVOTAL";
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
    return 0.3;
  }

  /** Three selections in the first half, down to one percent of the encoder. */
  @Override
  public Config defaults() {
    return new Config(
        Checks.EVERYTHING, List.of(), List.of(), 0.01, 3, 0.5, 1e-3, List.of("classifier"));
  }

  @Override
  public AttachedMethod attach(Config config, ModuleTree modules) {
    return new Attached(
        config,
        new DenseDelta(
            Checks.body(
                modules,
                config.targetModules(),
                config.excludeModules(),
                config.layersToTransform())));
  }

  private record Attached(Config config, DenseDelta delta) implements AttachedMethod {

    @Override
    public Map<String, List<Integer>> shapes() {
      return delta.shapes();
    }

    @Override
    public MethodState initialState(long seed, BaseWeights base) {
      return EntryMask.ALL.state();
    }

    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      return delta.zeros();
    }

    @Override
    public TensorRole role(String tensor) {
      return TensorRole.LINEAR;
    }

    @Override
    public Map<String, float[]> fuse(
        ParameterVector parameters, MethodState state, BaseWeights base) {
      return delta.fuse(parameters, base);
    }

    @Override
    public SortedMap<String, TensorData> save(ParameterVector parameters, MethodState state) {
      return EntryMask.of(state).save(shapes().keySet(), parameters);
    }

    @Override
    public Loaded load(AdapterTensors file, BaseWeights base) {
      return EntryMask.load(file, delta.zeros());
    }

    @Override
    public List<Modification> modifications(MethodTensors tensors, TuningContext context) {
      return delta.modifications(tensors, module -> true);
    }

    @Override
    public StepObserver observer(
        MethodState state, TrainingSpan span, ParameterLayout layout, BaseWeights base) {
      return new Selection(this, state, span, base);
    }

    @Override
    public RoundDecision.Output decide(MethodState state, RoundDecision.Input input) {
      EntryMask mask = EntryMask.of(state);
      int due = config.due(input.progress());
      if (due <= mask.chosen()) {
        return new RoundDecision.Output(state, input.parameters());
      }
      ParameterLayout layout = input.parameters().layout();
      Map<String, float[]> scores = new LinkedHashMap<>();
      shapes()
          .keySet()
          .forEach(n -> scores.put(n, Checks.report(input, n, layout.entry(n).size())));
      EntryMask selected = select(mask, scores, due);
      float[] flat = input.parameters().toArray();
      selected.apply(shapes().keySet(), layout, flat);
      return new RoundDecision.Output(selected.state(), ParameterVector.wrap(layout, flat));
    }

    EntryMask select(EntryMask mask, Map<String, float[]> scores, int due) {
      return new EntryMask(due, mask.largestOfEach(scores, config.share(due)).masks());
    }

    /** {@code |D| / (|W| + epsilon)} of every entry. */
    Map<String, float[]> scores(ParameterVector parameters, BaseWeights base) {
      Map<String, float[]> scores = new LinkedHashMap<>();
      delta
          .bases()
          .forEach(
              (name, tensor) -> {
                float[] difference = parameters.tensor(name);
                float[] weight = base.tensor(tensor);
                for (int i = 0; i < weight.length; i++) {
                  double size = Math.abs(weight[i]) + config.epsilon();
                  difference[i] = (float) (Math.abs(difference[i]) / size);
                }
                scores.put(name, difference);
              });
      return scores;
    }
  }

  /** Masks; selects when it is alone, else reports scores where a selection is due. */
  private static final class Selection implements StepObserver {
    private final Attached method;
    private final TrainingSpan span;
    private final BaseWeights base;
    private final Set<String> names;
    private final Map<String, float[]> report = new HashMap<>();
    private EntryMask mask;

    Selection(Attached method, MethodState state, TrainingSpan span, BaseWeights base) {
      this.method = method;
      this.span = span;
      this.base = base;
      this.names = method.shapes().keySet();
      this.mask = EntryMask.of(state);
    }

    @Override
    public void beforeStep(Update update) {
      mask.apply(names, update.layout(), update.gradient());
    }

    @Override
    public Optional<MethodState> afterStep(Update update) {
      int completed = update.update() + 1;
      if (!span.alone()) {
        if (completed == span.updates() && due(span.progressEnd())) {
          report.putAll(scores(update));
        }
        return Optional.empty();
      }
      double progress = (double) completed / span.updates();
      if (!due(progress)) {
        return Optional.empty();
      }
      mask = method.select(mask, scores(update), method.config().due(progress));
      mask.apply(names, update.layout(), update.parameters());
      mask.restart(names, update, false);
      return Optional.of(mask.state());
    }

    private boolean due(double progress) {
      return method.config().due(progress) > mask.chosen();
    }

    private Map<String, float[]> scores(Update update) {
      return method.scores(ParameterVector.of(update.layout(), update.parameters()), base);
    }

    @Override
    public Map<String, float[]> report() {
      return report;
    }
  }
}
