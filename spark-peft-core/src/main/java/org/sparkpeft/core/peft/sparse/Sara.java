package org.sparkpeft.core.peft.sparse;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.types.DataType;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
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
import org.sparkpeft.core.peft.TargetSelection;
import org.sparkpeft.core.peft.TensorRole;
import org.sparkpeft.core.peft.TrainingSpan;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * SaRA (Hu et al. 2024, arXiv 2409.06633): trains the entries that matter least, {@code |W| < h}.
 * Here the values {@code v [k]} are the difference to the base, {@code W + scatter(v)}, at the
 * {@code proportion} of each matrix that is smallest in magnitude; of those, only entries below
 * {@code threshold} are trained, if that is set. (The paper fixes h; a proportion makes the number
 * of entries known before the weights are.) A file holds v and the indices.
 *
 * <p>Half-way (at {@code progressive_start}) only entries whose {@code |W + v|} is still below h go
 * on, with fresh moments: the others have become effective. Without a threshold h is the largest
 * magnitude among the chosen. In a federation the driver decides that from the averaged v.
 *
 * <p>{@code nuclear_weight} adds that times the nuclear norm of one matrix's trained entries {@code
 * W + v}, another matrix in each step; its gradient is the orthogonal polar factor, here by
 * Newton-Schulz iterations. The public code starts from {@code |W|}, which loses signs; this does
 * not.
 */
public final class Sara implements PeftMethod<Sara.Config> {
  private static final int SMALLEST_PENALISED = 65;
  private static final String ACTIVE = ".sparse_active";
  private static final String BASE = ".sparse_base";

  /**
   * @param targetModules linear layers and embeddings to act on
   * @param excludeModules names to leave out
   * @param layersToTransform layer numbers to act on; empty means all
   * @param proportion share of each matrix that may be trained, in (0, 1]; the paper takes 0.1..0.2
   * @param threshold only entries with magnitudes strictly below are trained; 0 means no limit
   * @param progressiveStart progress in (0, 1] at which effective entries stop; 1 means never
   * @param nuclearWeight weight of the low-rank penalty; 0 switches it off. Only matrices whose
   *     sides exceed 64 are penalised
   * @param modulesToSave modules trained in full
   */
  public record Config(
      TargetModules targetModules,
      List<String> excludeModules,
      List<Integer> layersToTransform,
      double proportion,
      double threshold,
      double progressiveStart,
      double nuclearWeight,
      List<String> modulesToSave)
      implements PeftConfig {
    public Config {
      excludeModules = List.copyOf(excludeModules);
      layersToTransform = List.copyOf(layersToTransform);
      modulesToSave = List.copyOf(modulesToSave);
      Problems problems = new Problems();
      Checks.density(problems, "proportion", proportion);
      problems
          .require(
              threshold >= 0 && Double.isFinite(threshold),
              "threshold",
              threshold,
              "must be 0 (no limit) or a magnitude such as 0.002")
          .require(
              progressiveStart > 0 && progressiveStart <= 1,
              "progressive_start",
              progressiveStart,
              "must be in (0, 1]; 1 means never")
          .require(
              nuclearWeight >= 0 && Double.isFinite(nuclearWeight),
              "nuclear_weight",
              nuclearWeight,
              "must be 0 (off) or above")
          .throwIfAny();
    }

    @Override
    public String peftType() {
      return "SARA";
    }
  }

  /** The rate that the public code takes for a threshold: {@code 1e-3 exp(-350 h)}. */
  public static double suggestedRate(double threshold) {
    return 1e-3 * Math.exp(-350 * threshold);
  }

  @Override
  public String peftType() {
    return "SARA";
  }

  @Override
  public Class<Config> configType() {
    return Config.class;
  }

  @Override
  public MethodClass methodClass() {
    return MethodClass.SELECTIVE;
  }

  /** A tenth of query and value, narrowed half-way. */
  @Override
  public Config defaults() {
    return new Config(
        TargetModules.of("query", "value"),
        List.of(),
        List.of(),
        0.1,
        0,
        0.5,
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
    return new Attached(
        config,
        SparseDelta.of(
            targets, m -> (int) Math.max(1, config.proportion() * ((double) m.in() * m.out()))));
  }

  private record Attached(Config config, SparseDelta delta) implements AttachedMethod {

    @Override
    public Map<String, List<Integer>> shapes() {
      return delta.shapes();
    }

    @Override
    public MethodState initialState(long seed, BaseWeights base) {
      Map<String, int[]> indices = new LinkedHashMap<>();
      MethodState.Builder rest = new MethodState.Builder();
      for (SparseDelta.Site site : delta.sites()) {
        float[] weight = base.tensor(site.weight());
        float[] smallness = EntrySelection.magnitudes(weight);
        for (int i = 0; i < smallness.length; i++) {
          smallness[i] = -smallness[i];
        }
        int[] chosen = EntrySelection.largest(smallness, site.count());
        Arrays.sort(chosen);
        float[] start = new float[chosen.length];
        for (int s = 0; s < chosen.length; s++) {
          start[s] = weight[chosen[s]];
        }
        indices.put(site.indices(), chosen);
        List<Integer> shape = List.of(chosen.length);
        rest.floats(site.module().path() + BASE, shape, start);
        rest.integers(site.module().path() + ACTIVE, shape, active(start, limit(start)));
      }
      return delta.state(indices).with(rest.build());
    }

    /** Entries at the limit are out where it is a threshold, in where it is their largest. */
    private float limit(float[] start) {
      if (config.threshold() > 0) {
        return (float) config.threshold();
      }
      float largest = 0;
      for (float value : start) {
        largest = Math.max(largest, Math.abs(value));
      }
      return Math.nextUp(largest);
    }

    private static int[] active(float[] values, float limit) {
      int[] active = new int[values.length];
      for (int s = 0; s < values.length; s++) {
        active[s] = Math.abs(values[s]) < limit ? 1 : 0;
      }
      return active;
    }

    /** The entries that are still trained after narrowing. */
    MethodState narrowed(MethodState state, ParameterVector parameters) {
      MethodState.Builder changed = new MethodState.Builder();
      for (SparseDelta.Site site : delta.sites()) {
        String path = site.module().path();
        float[] start = state.floats(path + BASE);
        float[] values = parameters.tensor(site.values());
        int[] before = state.integers(path + ACTIVE);
        float[] now = new float[values.length];
        for (int s = 0; s < now.length; s++) {
          now[s] = before[s] == 1 ? start[s] + values[s] : Float.POSITIVE_INFINITY;
        }
        changed.integers(path + ACTIVE, List.of(now.length), active(now, limit(start)));
      }
      return state.with(changed.build());
    }

    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      return delta.zeros();
    }

    @Override
    public List<Modification> modifications(MethodTensors tensors, TuningContext context) {
      if (context.training() && config.nuclearWeight() > 0) {
        penalise(tensors, context);
      }
      return delta.modifications(tensors, context);
    }

    private void penalise(MethodTensors tensors, TuningContext context) {
      List<SparseDelta.Site> large = new ArrayList<>();
      for (SparseDelta.Site site : delta.sites()) {
        if (Math.min(site.module().in(), site.module().out()) >= SMALLEST_PENALISED) {
          large.add(site);
        }
      }
      if (large.isEmpty()) {
        return;
      }
      SparseDelta.Site site = large.get((int) (context.random().doubleAt(0) * large.size()));
      String path = site.module().path();
      NDArray mask = tensors.state(path + ACTIVE).toType(DataType.FLOAT32, true);
      NDArray own =
          tensors.parameter(site.values()).add(tensors.state(path + BASE)).mul(mask); // [k]
      mask.attach(context.manager());
      NDArray matrix = SparseDelta.dense(site, own, tensors.state(site.indices()), context);
      NDArray norm = PolarFactor.of(matrix.stopGradient()).mul(matrix).sum();
      context.addToLoss(Scalars.times(norm, (float) config.nuclearWeight()));
    }

    @Override
    public TensorRole role(String tensor) {
      return TensorRole.LINEAR;
    }

    @Override
    public StepObserver observer(MethodState state, TrainingSpan span, ParameterLayout layout) {
      return new Progressive(this, state, span);
    }

    @Override
    public RoundDecision.Output decide(MethodState state, RoundDecision.Input input) {
      double before = (input.round() - 1.0) / input.rounds();
      boolean now =
          before < config.progressiveStart()
              && input.progress() >= config.progressiveStart()
              && input.progress() < 1;
      return new RoundDecision.Output(
          now ? narrowed(state, input.parameters()) : state, input.parameters());
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
      Loaded loaded = delta.load(file);
      return new Loaded(loaded.values(), initialState(0, base).with(loaded.state()));
    }
  }

  /** Holds entries that are not trained where they are; narrows when it is alone. */
  private static final class Progressive implements StepObserver {
    private final Attached method;
    private final TrainingSpan span;
    private final Map<String, float[]> held = new LinkedHashMap<>();
    private MethodState state;

    Progressive(Attached method, MethodState state, TrainingSpan span) {
      this.method = method;
      this.state = state;
      this.span = span;
    }

    private BitSet frozen(SparseDelta.Site site) {
      int[] active = state.integers(site.module().path() + ACTIVE);
      BitSet frozen = new BitSet(active.length);
      for (int s = 0; s < active.length; s++) {
        frozen.set(s, active[s] == 0);
      }
      return frozen;
    }

    @Override
    public void beforeStep(Update update) {
      for (SparseDelta.Site site : method.delta().sites()) {
        int from = SlotSteering.offset(update, site);
        frozen(site).stream().forEach(s -> update.gradient()[from + s] = 0);
        held.put(site.values(), Arrays.copyOfRange(update.parameters(), from, from + site.count()));
      }
    }

    @Override
    public Optional<MethodState> afterStep(Update update) {
      for (SparseDelta.Site site : method.delta().sites()) {
        int from = SlotSteering.offset(update, site);
        float[] before = Objects.requireNonNull(held.get(site.values()));
        frozen(site).stream().forEach(s -> update.parameters()[from + s] = before[s]);
      }
      int completed = update.update() + 1;
      double start = method.config().progressiveStart();
      if (!span.alone() || start == 1 || completed != Math.ceil(start * span.updates())) {
        return Optional.empty();
      }
      state = method.narrowed(state, ParameterVector.of(update.layout(), update.parameters()));
      for (SparseDelta.Site site : method.delta().sites()) {
        int from = SlotSteering.offset(update, site);
        for (int s = 0; s < site.count(); s++) {
          update.moments().restart(from + s, 0, 0, 0);
        }
      }
      return Optional.of(state);
    }
  }
}
