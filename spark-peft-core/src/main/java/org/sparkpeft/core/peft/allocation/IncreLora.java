package org.sparkpeft.core.peft.allocation;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.index.NDIndex;
import ai.djl.ndarray.types.Shape;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.function.Function;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.nn.Linear;
import org.sparkpeft.core.peft.AdapterTensors;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.BaseWeights;
import org.sparkpeft.core.peft.Dropout;
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
import org.sparkpeft.core.peft.TrainingSpan;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * IncreLoRA (Zhang et al. 2023, arXiv 2308.12043): {@code y = W x + b + s B diag(E) A x} as in
 * AdaLoRA, but ranks grow: {@code A [max_r, in]}, {@code E [max_r, 1]}, {@code B [out, max_r]} of
 * which the first {@code rank} components of a module count, and {@code s = lora_alpha / (rank +
 * 1e-5)}. The next {@code add_r} are its reserve: their A and B learn in advance under {@code E =
 * 1e-5}; the rest wait as they were drawn. A module's score is smoothed {@code sum |D * dL/dD| /
 * sqrt(size)} of {@code D = B diag(E) A s} times its uncertainty; every {@code incre_interval}
 * steps the {@code top_h} best take in their reserve, until the ranks sum up to {@code target_r}
 * for each module. Reserves do not count outside training.
 *
 * <p>Shapes are fixed, so {@code max_r} bounds a module's rank (ours; the paper has no bound). New
 * components warm up over {@code init_warmup} steps on top of the training's own schedule, where
 * the public code restarts a linear decay from the full rate. In a federation clients report
 * scores, each divided by the client's mean, and the driver grows after a round as often as its
 * steps would have. Hugging Face has no such method: the file holds all components and the state,
 * and {@code fuse} folds it in.
 */
public final class IncreLora implements PeftMethod<IncreLora.Config> {
  private static final float RESERVED = 1e-5f;

  /**
   * Settings.
   *
   * @param targetR mean rank of a module at which growth ends
   * @param initR rank at the start
   * @param addR components that a module gains at a time; usual is half of {@code target_r}
   * @param maxR largest rank of a module
   * @param topH modules that grow at a time
   * @param initWarmup steps before the first growth, and of new components' warm-up; a training
   *     that is not longer never grows
   * @param increInterval steps from one growth to the next
   * @param orthRegWeight weight of the mean over components of {@code | |a|^2 - 1 |} in the loss
   * @param advanceLearning whether reserves learn in advance
   */
  public record Config(
      int targetR,
      int initR,
      int addR,
      int maxR,
      int topH,
      int initWarmup,
      int increInterval,
      double beta1,
      double beta2,
      double orthRegWeight,
      boolean advanceLearning,
      double loraAlpha,
      double loraDropout,
      TargetModules targetModules,
      List<String> excludeModules,
      List<Integer> layersToTransform,
      List<String> modulesToSave)
      implements PeftConfig {

    public Config {
      excludeModules = List.copyOf(excludeModules);
      layersToTransform = List.copyOf(layersToTransform);
      modulesToSave = List.copyOf(modulesToSave);
      Problems problems = new Problems();
      problems
          .require(initR >= 1, "init_r", initR, "must be 1 or more; usual is 1")
          .require(targetR >= initR, "target_r", targetR, "must be at least init_r = " + initR)
          .require(addR >= 1, "add_r", addR, "must be 1 or more; usual is half of target_r")
          .require(
              maxR >= targetR && maxR <= 512,
              "max_r",
              maxR,
              "must be target_r = " + targetR + "..512; usual is 4 target_r")
          .require(topH >= 1, "top_h", topH, "must be 1 module or more")
          .require(initWarmup >= 0, "init_warmup", initWarmup, "must be 0 steps or more")
          .require(increInterval >= 1, "incre_interval", increInterval, "must be 1 step or more")
          .require(beta1 > 0 && beta1 < 1, "beta1", beta1, "must be in (0, 1); usual is 0.85")
          .require(beta2 > 0 && beta2 < 1, "beta2", beta2, "must be in (0, 1); usual is 0.85")
          .require(
              orthRegWeight >= 0 && Double.isFinite(orthRegWeight),
              "orth_reg_weight",
              orthRegWeight,
              "must be 0 or above; usual is 0.1")
          .require(
              loraAlpha > 0 && Double.isFinite(loraAlpha),
              "lora_alpha",
              loraAlpha,
              "must be above 0; usual is 16")
          .require(
              loraDropout >= 0 && loraDropout < 1,
              "lora_dropout",
              loraDropout,
              "must be in [0, 1)");
      problems.throwIfAny();
    }

    @Override
    public String peftType() {
      return "INCRELORA";
    }
  }

  @Override
  public String peftType() {
    return "INCRELORA";
  }

  @Override
  public Class<Config> configType() {
    return Config.class;
  }

  @Override
  public MethodClass methodClass() {
    return MethodClass.REPARAMETERISED;
  }

  /** The paper's settings for CoLA, on query and value. */
  @Override
  public Config defaults() {
    return new Config(
        2,
        1,
        1,
        8,
        3,
        100,
        100,
        0.85,
        0.85,
        0.1,
        true,
        16,
        0,
        TargetModules.of("query", "value"),
        List.of(),
        List.of(),
        List.of("classifier"));
  }

  @Override
  public Set<String> trainingFields() {
    return Set.of(
        "target_r", "top_h", "init_warmup", "incre_interval", "beta1", "beta2", "orth_reg_weight");
  }

  @Override
  public AttachedMethod attach(Config config, ModuleTree modules) {
    return new Attached(
        config,
        TargetSelection.select(
            modules,
            config.targetModules(),
            config.excludeModules(),
            config.layersToTransform(),
            Set.of(ModuleSpec.Kind.LINEAR)));
  }

  /** {@code sum |D * G| / sqrt(size)}: how much the loss depends on a module's change D. */
  static float sensitivity(float[] delta, float[] gradient) {
    double sum = 0;
    for (int i = 0; i < delta.length; i++) {
      sum += Math.abs((double) delta[i] * gradient[i]);
    }
    return (float) (sum / Math.sqrt(delta.length));
  }

  /**
   * How far growth has come.
   *
   * @param rank of each module
   * @param learning step since which a component's A and B learn, for each module
   * @param counted step since which a component counts
   * @param growing whether there will be more
   */
  record Growth(int[] rank, int[][] learning, int[][] counted, boolean growing) {

    int total() {
      return Arrays.stream(rank).sum();
    }

    /** Lets the best modules take in their reserves. */
    Growth grown(Config config, float[] scores, int step) {
      int[] ranks = rank.clone();
      int[][] learns = Arrays.stream(learning).map(int[]::clone).toArray(int[][]::new);
      int[][] counts = Arrays.stream(counted).map(int[]::clone).toArray(int[][]::new);
      int target = config.targetR() * ranks.length;
      int missing = target - total();
      int picks = Math.min(config.topH(), (missing + config.addR() - 1) / config.addR());
      for (int module : Ranking.falling(scores)) {
        int next = ranks[module] + config.addR();
        if (picks > 0 && next <= config.maxR()) {
          Arrays.fill(counts[module], ranks[module], next, step);
          int reserve = Math.min(next + config.addR(), config.maxR());
          Arrays.fill(learns[module], next, reserve, step);
          ranks[module] = next;
          picks--;
        }
      }
      boolean room = Arrays.stream(ranks).anyMatch(r -> r + config.addR() <= config.maxR());
      boolean more = room && Arrays.stream(ranks).sum() < target;
      return new Growth(ranks, learns, counts, more);
    }

    /** End of the components that learn. */
    int end(Config config, int module) {
      return growing && config.advanceLearning()
          ? Math.min(rank[module] + config.addR(), config.maxR())
          : rank[module];
    }
  }

  private static final String GROWING = "growing";
  private static final String PENALTY = "penalty";

  private record Attached(Config config, List<ModuleSpec> modules) implements AttachedMethod {

    private static String a(ModuleSpec module) {
      return module.path() + ".lora_A";
    }

    private static String b(ModuleSpec module) {
      return module.path() + ".lora_B";
    }

    private static String e(ModuleSpec module) {
      return module.path() + ".lora_E";
    }

    private static String rank(ModuleSpec module) {
      return module.path() + ".rank";
    }

    /** Steps at which components began, {@code [2, max_r]}: to learn, and to count. */
    private static String birth(ModuleSpec module) {
      return module.path() + ".birth";
    }

    /** Scale of each component that counts, else 0. */
    private static String gain(ModuleSpec module) {
      return module.path() + ".gain";
    }

    /** Scale times E of each component in reserve, else 0. */
    private static String reserve(ModuleSpec module) {
      return module.path() + ".reserve";
    }

    /** 1 for each component that learns and does not belong to the first block. */
    private static String later(ModuleSpec module) {
      return module.path() + ".later";
    }

    @Override
    public Map<String, List<Integer>> shapes() {
      Map<String, List<Integer>> shapes = new LinkedHashMap<>();
      for (ModuleSpec module : modules) {
        shapes.put(a(module), List.of(config.maxR(), module.in()));
        shapes.put(b(module), List.of(module.out(), config.maxR()));
        shapes.put(e(module), List.of(config.maxR(), 1));
      }
      return shapes;
    }

    @Override
    public MethodState initialState(long seed, BaseWeights base) {
      int[] ranks = new int[modules.size()];
      Arrays.fill(ranks, config.initR());
      boolean more =
          config.initR() < config.targetR() && config.initR() + config.addR() <= config.maxR();
      int[][] none = new int[modules.size()][config.maxR()];
      return state(new Growth(ranks, none, none, more));
    }

    private MethodState state(Growth growth) {
      MethodState.Builder state = new MethodState.Builder();
      int r = config.maxR();
      int blocks = 0;
      for (int m = 0; m < modules.size(); m++) {
        ModuleSpec module = modules.get(m);
        int rank = growth.rank()[m];
        int end = growth.end(config, m);
        float scale = (float) (config.loraAlpha() / (rank + 1e-5));
        float[] gain = new float[r];
        float[] reserve = new float[r];
        float[] later = new float[r];
        Arrays.fill(gain, 0, rank, scale);
        Arrays.fill(reserve, rank, end, scale * RESERVED);
        Arrays.fill(later, config.initR(), end, 1);
        blocks += 2 * (1 + end - config.initR());
        int[] births = Arrays.copyOf(growth.learning()[m], 2 * r);
        System.arraycopy(growth.counted()[m], 0, births, r, r);
        state
            .integers(rank(module), List.of(1), new int[] {rank})
            .integers(birth(module), List.of(2, r), births)
            .floats(gain(module), List.of(r), gain)
            .floats(reserve(module), List.of(r), reserve)
            .floats(later(module), List.of(r), later);
      }
      return state
          .integers(GROWING, List.of(1), new int[] {growth.growing() ? 1 : 0})
          .floats(PENALTY, List.of(1), new float[] {(float) (config.orthRegWeight() / blocks)})
          .build();
    }

    private Growth growth(Function<String, int[]> integers) {
      int[] ranks = new int[modules.size()];
      int[][] learning = new int[modules.size()][];
      int[][] counted = new int[modules.size()][];
      for (int m = 0; m < modules.size(); m++) {
        ranks[m] = integers.apply(rank(modules.get(m)))[0];
        int[] births = integers.apply(birth(modules.get(m)));
        learning[m] = Arrays.copyOf(births, config.maxR());
        counted[m] = Arrays.copyOfRange(births, config.maxR(), births.length);
      }
      return new Growth(ranks, learning, counted, integers.apply(GROWING)[0] == 1);
    }

    /** A and B from N(0, 0.02); E zero, but 1e-5 where a component is to learn in advance. */
    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      Map<String, float[]> values = new LinkedHashMap<>();
      int r = config.maxR();
      for (ModuleSpec module : modules) {
        Philox random = Philox.of(seed, "increlora", Philox.hash(module.path()));
        float[] e = new float[r];
        Arrays.fill(e, config.initR(), r, config.advanceLearning() ? RESERVED : 0);
        values.put(a(module), random.child(0).gaussian(r * module.in(), 0.02));
        values.put(b(module), random.child(1).gaussian(r * module.out(), 0.02));
        values.put(e(module), e);
      }
      return values;
    }

    @Override
    public List<Modification> modifications(MethodTensors tensors, TuningContext context) {
      List<Modification> modifications = new ArrayList<>();
      for (ModuleSpec module : modules) {
        NDArray a = tensors.parameter(a(module));
        NDArray b = tensors.parameter(b(module));
        NDArray counted =
            tensors
                .parameter(e(module))
                .reshape(new Shape(config.maxR()))
                .mul(tensors.state(gain(module)));
        NDArray e = context.training() ? counted.add(tensors.state(reserve(module))) : counted;
        Optional<NDArray> probe =
            context.probe(delta(module), new Shape(module.out(), module.in()));
        modifications.add(
            Modification.parallel(
                module.path(),
                x -> {
                  NDArray dropped = dropped(module, x, context);
                  NDArray delta = LowRank.delta(dropped, a, e, b);
                  return probe
                      .map(zeros -> delta.add(Linear.of(dropped, zeros, null)))
                      .orElse(delta);
                }));
      }
      if (context.training() && config.orthRegWeight() > 0) {
        context.addToLoss(penalty(tensors));
      }
      return modifications;
    }

    /** Name of the probe of a module's change. */
    private static String delta(ModuleSpec module) {
      return module.path() + ".delta";
    }

    private NDArray dropped(ModuleSpec module, NDArray x, TuningContext context) {
      if (!context.training() || config.loraDropout() == 0) {
        return x;
      }
      Philox random = context.random().child(Philox.hash(module.path()));
      return Dropout.apply(x, config.loraDropout(), random);
    }

    /** Of the first block as AdaLoRA's; of each later component, how far its length is from 1. */
    private NDArray penalty(MethodTensors tensors) {
      NDArray sum = null;
      for (ModuleSpec module : modules) {
        NDArray later = tensors.state(later(module));
        NDArray a = tensors.parameter(a(module));
        NDArray b = tensors.parameter(b(module)).transpose();
        for (NDArray rows : List.of(a, b)) {
          NDArray first = LowRank.orthogonality(rows.get(new NDIndex(":" + config.initR())));
          NDArray lengths = rows.square().sum(new int[] {1}); // [max_r]
          NDArray ones = lengths.getManager().ones(lengths.getShape());
          NDArray term = first.add(lengths.sub(ones).abs().mul(later).sum());
          sum = sum == null ? term : sum.add(term);
        }
      }
      if (sum == null) {
        throw new IllegalStateException("no modules");
      }
      return sum.mul(tensors.state(PENALTY)).sum();
    }

    @Override
    public StepObserver observer(MethodState state, TrainingSpan span, ParameterLayout layout) {
      return new Growing(this, growth(state::integers), span, layout);
    }

    /** {@code B diag(E) A s} with reserves, row-major {@code [out, in]}. */
    private float[] change(int m, Growth growth, ParameterLayout layout, float[] parameters) {
      ModuleSpec module = modules.get(m);
      float scale = (float) (config.loraAlpha() / (growth.rank()[m] + 1e-5));
      float[] e = slice(layout, e(module), parameters);
      for (int i = 0; i < e.length; i++) {
        e[i] = i < growth.end(config, m) ? scale * e[i] : 0;
      }
      float[] delta = new float[module.in() * module.out()];
      LowRank.addProduct(
          delta, slice(layout, a(module), parameters), e, slice(layout, b(module), parameters));
      return delta;
    }

    private static float[] slice(ParameterLayout layout, String name, float[] parameters) {
      ParameterLayout.Entry entry = layout.entry(name);
      return Arrays.copyOfRange(parameters, entry.offset(), entry.end());
    }

    @Override
    public RoundDecision.Output decide(MethodState state, RoundDecision.Input input) {
      Growth growth = growth(state::integers);
      float[] scores = new float[modules.size()];
      for (int m = 0; m < scores.length; m++) {
        float[] score = input.reports().get(modules.get(m).path());
        if (score == null) {
          return new RoundDecision.Output(state, input.parameters());
        }
        scores[m] = score[0];
      }
      long total = Ranking.totalUpdates(input.reports());
      long before = Math.round((double) (input.round() - 1) / input.rounds() * total);
      long now = Math.round(input.progress() * total);
      int events = Ranking.events(before, now, config.increInterval(), config.initWarmup());
      for (int i = 0; i < events && growth.growing(); i++) {
        growth = growth.grown(config, scores, Math.toIntExact(now));
      }
      return new RoundDecision.Output(events == 0 ? state : state(growth), input.parameters());
    }

    /** Components that count; reserves are dropped. */
    @Override
    public Map<String, float[]> fuse(
        ParameterVector parameters, MethodState state, BaseWeights base) {
      Map<String, float[]> fused = new LinkedHashMap<>();
      for (ModuleSpec module : modules) {
        String name = module.path() + ".weight";
        float[] weight = base.tensor(name).clone();
        float[] gain = state.floats(gain(module));
        float[] e = parameters.tensor(e(module));
        for (int i = 0; i < e.length; i++) {
          e[i] *= gain[i];
        }
        LowRank.addProduct(weight, parameters.tensor(a(module)), e, parameters.tensor(b(module)));
        fused.put(name, weight);
      }
      return fused;
    }

    @Override
    public SortedMap<String, TensorData> save(ParameterVector parameters, MethodState state) {
      return StateFiles.save(shapes(), parameters, state);
    }

    @Override
    public Loaded load(AdapterTensors file, BaseWeights base) {
      Map<String, int[]> integers =
          StateFiles.takeIntegers(file, initialState(0, base), Integer.MAX_VALUE);
      Growth growth = growth(integers::get);
      for (int m = 0; m < modules.size(); m++) {
        int rank = growth.rank()[m];
        if (rank < config.initR() || rank > config.maxR()) {
          throw file.wrong(
              rank(modules.get(m))
                  + " is "
                  + rank
                  + "; the settings allow init_r = "
                  + config.initR()
                  + "..max_r = "
                  + config.maxR());
        }
      }
      return new Loaded(file.takeAll(shapes()), state(growth));
    }
  }

  /** Scores modules; lets them grow where nobody else does. */
  private static final class Growing implements StepObserver {
    private final Attached attached;
    private final TrainingSpan span;
    private final ParameterLayout layout;
    private final Importance importance;
    private final StepFactors factors;
    private Growth growth;
    private Optional<Growth> next = Optional.empty();

    Growing(Attached attached, Growth growth, TrainingSpan span, ParameterLayout layout) {
      Config config = attached.config();
      this.attached = attached;
      this.growth = growth;
      this.span = span;
      this.layout = layout;
      this.importance = new Importance(attached.modules().size(), config.beta1(), config.beta2());
      this.factors = new StepFactors(layout.size());
    }

    @Override
    public boolean wants(String probe, int update) {
      return growth.growing() && probe.endsWith(".delta");
    }

    /** Scores are of the parameters that made the gradient; what is new has none in this step. */
    @Override
    public void beforeStep(Update update) {
      Config config = attached.config();
      long step = span.firstUpdate() + update.update();
      if (growth.growing()) {
        score(update);
        boolean due = step > config.initWarmup() && step % config.increInterval() == 0;
        if (span.alone() && due) {
          next = Optional.of(growth.grown(config, scores(), Math.toIntExact(step)));
        }
      }
      limit(step);
      factors.remember(update.parameters());
    }

    private void score(Update update) {
      for (int m = 0; m < attached.modules().size(); m++) {
        float[] gradient = update.probes().get(Attached.delta(attached.modules().get(m)));
        if (gradient != null) {
          float[] delta = attached.change(m, growth, layout, update.parameters());
          importance.add(m, sensitivity(delta, gradient));
        }
      }
    }

    private float[] scores() {
      float[] scores = new float[attached.modules().size()];
      for (int m = 0; m < scores.length; m++) {
        scores[m] = importance.score(m);
      }
      return scores;
    }

    /** The optimiser has seen nothing of what is new. */
    private void restart(Growth before, Update update) {
      Config config = attached.config();
      for (int m = 0; m < growth.rank().length; m++) {
        for (int i = before.rank()[m]; i < growth.rank()[m]; i++) {
          update.moments().restart(place(m, 2, i, 0), 0, 0, 0);
        }
        for (int i = before.end(config, m); i < growth.end(config, m); i++) {
          ModuleSpec module = attached.modules().get(m);
          for (int j = 0; j < module.in(); j++) {
            update.moments().restart(place(m, 0, i, j), 0, 0, 0);
          }
          for (int j = 0; j < module.out(); j++) {
            update.moments().restart(place(m, 1, i, j), 0, 0, 0);
          }
        }
      }
    }

    /** Place of entry {@code j} of component {@code i} of A (0), B (1) or E (2). */
    private int place(int m, int tensor, int i, int j) {
      ModuleSpec module = attached.modules().get(m);
      return switch (tensor) {
        case 0 -> layout.entry(Attached.a(module)).offset() + i * module.in() + j;
        case 1 -> layout.entry(Attached.b(module)).offset() + j * attached.config().maxR() + i;
        default -> layout.entry(Attached.e(module)).offset() + i;
      };
    }

    /** What waits stays as it is; what is new warms up. */
    private void limit(long step) {
      Config config = attached.config();
      factors.reset();
      for (int m = 0; m < growth.rank().length; m++) {
        ModuleSpec module = attached.modules().get(m);
        int offsetA = place(m, 0, 0, 0);
        int offsetB = place(m, 1, 0, 0);
        int offsetE = place(m, 2, 0, 0);
        for (int i = 0; i < config.maxR(); i++) {
          boolean learns = i < growth.end(config, m);
          float factor = learns ? warmed(growth.learning()[m][i], step) : 0;
          factors.fill(offsetA + i * module.in(), offsetA + (i + 1) * module.in(), factor);
          for (int j = 0; j < module.out(); j++) {
            factors.set(offsetB + j * config.maxR() + i, factor);
          }
          boolean counts = i < growth.rank()[m];
          factors.set(offsetE + i, counts ? warmed(growth.counted()[m][i], step) : 0);
        }
      }
    }

    private float warmed(int since, long step) {
      int warmup = attached.config().initWarmup();
      boolean fromTheStart = since == 0 || warmup == 0;
      return fromTheStart ? 1 : Math.min(1, (step - since + 1) / (float) warmup);
    }

    @Override
    public Optional<MethodState> afterStep(Update update) {
      factors.apply(update.parameters());
      if (next.isEmpty()) {
        return Optional.empty();
      }
      Growth before = growth;
      growth = next.get();
      next = Optional.empty();
      restart(before, update);
      return Optional.of(attached.state(growth));
    }

    @Override
    public Map<String, float[]> report() {
      if (span.alone() || !growth.growing()) {
        return Map.of();
      }
      Map<String, float[]> report = new TreeMap<>();
      float[] scores = scores();
      Ranking.normalise(List.of(scores));
      for (int m = 0; m < scores.length; m++) {
        report.put(attached.modules().get(m).path(), new float[] {scores[m]});
      }
      report.put(Ranking.TOTAL_UPDATES, new float[] {span.totalUpdates()});
      return report;
    }
  }
}
