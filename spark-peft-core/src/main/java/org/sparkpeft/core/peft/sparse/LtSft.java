package org.sparkpeft.core.peft.sparse;

import ai.djl.ndarray.NDArray;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.SortedMap;
import org.sparkpeft.core.engine.Scalars;
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
import org.sparkpeft.core.peft.TensorRole;
import org.sparkpeft.core.peft.TrainingSpan;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * Lottery-ticket sparse fine-tuning (Ansell et al. 2021, arXiv 2110.07560): {@code W + D} is first
 * trained in full; the K entries of all tensors together that changed most are the mask;
 * everything, the head included, goes back to where it started; and only the mask is trained. One
 * iteration. Of equal changes the first count, where the public code takes all. Deltas of several
 * trainings add, which is what makes languages and tasks composable.
 *
 * <p>Entries outside the mask have no gradient, no decay and no optimiser memory, so they keep the
 * base's bits. The learning rate's schedule runs on through both phases; the public code starts it
 * anew. A regulariser {@code l1 * sum |D| / N} is added to the loss, N being the entries of all D.
 *
 * <p>In a federation clients report {@code |D|} after the round in which the full phase ends, and
 * the driver takes the mask from the sum and sends everything back to its start. The full phase
 * costs what full fine-tuning does.
 */
public final class LtSft implements PeftMethod<LtSft.Config> {

  /**
   * @param targetModules layers of any kind, outside the task head
   * @param excludeModules names to leave out
   * @param layersToTransform layer numbers to act on; empty means all
   * @param freezeLayerNorm whether layer norms are left out
   * @param ftParamsNum entries of the mask; 0 means {@code ft_params_proportion} decides
   * @param ftParamsProportion entries of the mask as a share of those of all D, in (0, 1]
   * @param fullPhase share of the training that is the full phase, in (0, 1)
   * @param fullL1Reg weight of the regulariser in the full phase
   * @param sparseL1Reg and in the sparse one
   * @param modulesToSave modules trained in full throughout, such as the head
   */
  public record Config(
      TargetModules targetModules,
      List<String> excludeModules,
      List<Integer> layersToTransform,
      boolean freezeLayerNorm,
      int ftParamsNum,
      double ftParamsProportion,
      double fullPhase,
      double fullL1Reg,
      double sparseL1Reg,
      List<String> modulesToSave)
      implements PeftConfig {
    public Config {
      excludeModules = List.copyOf(excludeModules);
      layersToTransform = List.copyOf(layersToTransform);
      modulesToSave = List.copyOf(modulesToSave);
      Problems problems = new Problems();
      Checks.density(problems, "ft_params_proportion", ftParamsProportion);
      problems
          .require(
              ftParamsNum >= 0,
              "ft_params_num",
              ftParamsNum,
              "must be 0 (ft_params_proportion decides) or a number of entries")
          .require(
              fullPhase > 0 && fullPhase < 1,
              "full_phase",
              fullPhase,
              "must be a share in (0, 1); 0.5 is usual")
          .require(
              fullL1Reg >= 0 && Double.isFinite(fullL1Reg),
              "full_l1_reg",
              fullL1Reg,
              "must be 0 (off) or above")
          .require(
              sparseL1Reg >= 0 && Double.isFinite(sparseL1Reg),
              "sparse_l1_reg",
              sparseL1Reg,
              "must be 0 (off) or above")
          .throwIfAny();
    }

    @Override
    public String peftType() {
      return "LT_SFT";
    }
  }

  @Override
  public String peftType() {
    return "LT_SFT";
  }

  @Override
  public Class<Config> configType() {
    return Config.class;
  }

  @Override
  public MethodClass methodClass() {
    return MethodClass.SELECTIVE;
  }

  /** One percent of the encoder without its norms, half of the training in full. */
  @Override
  public Config defaults() {
    return new Config(
        Checks.EVERYTHING, List.of(), List.of(), true, 0, 0.01, 0.5, 0, 0, List.of("classifier"));
  }

  @Override
  public AttachedMethod attach(Config config, ModuleTree modules) {
    List<ModuleSpec> targets =
        Checks.body(
            modules, config.targetModules(), config.excludeModules(), config.layersToTransform());
    return new Attached(
        config,
        new DenseDelta(
            targets.stream()
                .filter(m -> !(config.freezeLayerNorm() && m.kind() == ModuleSpec.Kind.LAYER_NORM))
                .toList()));
  }

  private record Attached(Config config, DenseDelta delta) implements AttachedMethod {
    /** Before a start value of a tensor outside the method, in reports and states. */
    private static final String START = "start:";

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

    private int entries() {
      return delta.zeros().values().stream().mapToInt(v -> v.length).reduce(0, Math::addExact);
    }

    /** The mask: the entries whose {@code |D|} is largest. */
    EntryMask choose(Map<String, float[]> changes) {
      int count =
          config.ftParamsNum() > 0
              ? config.ftParamsNum()
              : (int) Math.max(1, config.ftParamsProportion() * entries());
      return EntryMask.ALL.largestOfAll(changes, count);
    }

    @Override
    public List<Modification> modifications(MethodTensors tensors, TuningContext context) {
      if (context.training() && config.fullL1Reg() + config.sparseL1Reg() > 0) {
        boolean full = tensors.state("mask.chosen").toLongArray()[0] == 0;
        double weight = full ? config.fullL1Reg() : config.sparseL1Reg();
        for (String name : shapes().keySet()) {
          NDArray sum = tensors.parameter(name).abs().sum();
          context.addToLoss(Scalars.times(sum, (float) (weight / entries())));
        }
      }
      return delta.modifications(tensors, module -> true);
    }

    @Override
    public StepObserver observer(MethodState state, TrainingSpan span, ParameterLayout layout) {
      return new Phases(this, state, span);
    }

    @Override
    public RoundDecision.Output decide(MethodState state, RoundDecision.Input input) {
      MethodState remembered = state;
      MethodState.Builder starts = new MethodState.Builder();
      ParameterLayout layout = input.parameters().layout();
      input
          .reports()
          .forEach(
              (name, values) -> {
                if (name.startsWith(START)) {
                  starts.floats(name, List.of(values.length), values);
                }
              });
      remembered = remembered.with(starts.build());
      boolean over = input.progress() >= config.fullPhase() && input.progress() < 1;
      if (!EntryMask.of(state).everything() || !over) {
        return new RoundDecision.Output(remembered, input.parameters());
      }
      Map<String, float[]> changes = new LinkedHashMap<>();
      shapes()
          .keySet()
          .forEach(n -> changes.put(n, Checks.report(input, n, layout.entry(n).size())));
      float[] flat = new float[layout.size()];
      for (ParameterLayout.Entry entry : layout.entries()) {
        if (!shapes().containsKey(entry.name())) {
          float[] start = remembered.floats(START + entry.name());
          System.arraycopy(start, 0, flat, entry.offset(), start.length);
        }
      }
      return new RoundDecision.Output(choose(changes).state(), ParameterVector.wrap(layout, flat));
    }
  }

  /** Runs both phases when it is alone; a client only masks, or reports what it changed. */
  private static final class Phases implements StepObserver {
    private final Attached method;
    private final TrainingSpan span;
    private final Set<String> names;
    private final Map<String, float[]> report = new HashMap<>();
    private EntryMask mask;
    private float[] start = new float[0];

    Phases(Attached method, MethodState state, TrainingSpan span) {
      this.method = method;
      this.span = span;
      this.names = method.shapes().keySet();
      this.mask = EntryMask.of(state);
    }

    @Override
    public void beforeStep(Update update) {
      if (update.update() == 0 && mask.everything()) {
        start = update.parameters().clone();
      }
      mask.apply(names, update.layout(), update.gradient());
    }

    @Override
    public Optional<MethodState> afterStep(Update update) {
      int completed = update.update() + 1;
      if (!mask.everything()) {
        return Optional.empty();
      }
      if (!span.alone()) {
        if (completed == span.updates()) {
          fillReport(update);
        }
        return Optional.empty();
      }
      int full = (int) Math.max(1, Math.floor(method.config().fullPhase() * span.updates()));
      if (completed != full || full == span.updates()) {
        return Optional.empty();
      }
      mask = method.choose(changes(update));
      System.arraycopy(start, 0, update.parameters(), 0, start.length);
      mask.restart(update.layout().shapes().keySet(), update, true);
      return Optional.of(mask.state());
    }

    /** How far each entry is from the base, whatever the training started from. */
    private Map<String, float[]> changes(Update update) {
      Map<String, float[]> changes = new LinkedHashMap<>();
      ParameterVector now = ParameterVector.of(update.layout(), update.parameters());
      names.forEach(n -> changes.put(n, EntrySelection.magnitudes(now.tensor(n))));
      return changes;
    }

    private void fillReport(Update update) {
      if (span.progressEnd() >= method.config().fullPhase()) {
        report.putAll(changes(update));
      }
      if (span.progressStart() == 0) {
        ParameterVector first = ParameterVector.of(update.layout(), start);
        for (String name : update.layout().shapes().keySet()) {
          if (!names.contains(name)) {
            report.put(Attached.START + name, first.tensor(name));
          }
        }
      }
    }

    @Override
    public Map<String, float[]> report() {
      return report;
    }
  }
}
