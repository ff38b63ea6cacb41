package org.sparkpeft.core.peft.allocation;

import ai.djl.ndarray.NDArray;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.function.IntConsumer;
import org.sparkpeft.core.engine.Scalars;
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
 * TriAdaptLoRA (Liang et al. 2025, arXiv 2501.08008): {@code y = W x + b + s B C A x} with {@code A
 * [max_r, in]}, {@code B [out, max_r]}, a core {@code C [max_r, max_r]} that is the sum of a lower
 * and an upper block-triangular matrix, both with the diagonal blocks, and {@code s = lora_alpha /
 * (rank + 1e-5)}. Only the first {@code rank} rows and columns count; a module grows by a block of
 * {@code add_r}. Its score is how much {@code |C|_F / blocks} grew since the last look; how many of
 * the best modules grow rises from none to as many as ranks are missing, linearly or exponentially.
 *
 * <p>A and C start from N(0, 0.02) and B at zero, new blocks too; the public code starts B and C at
 * zero, where neither has a gradient. Shapes are fixed, so {@code max_r} bounds a module's rank
 * (ours). In a federation clients report the growth they made, and the driver decides after a
 * round. Hugging Face has no such method: the file holds all blocks and the ranks, and {@code fuse}
 * folds it in.
 */
public final class TriAdaptLora implements PeftMethod<TriAdaptLora.Config> {

  /**
   * Settings.
   *
   * @param targetR mean rank of a module at which growth ends
   * @param initR rank at the start
   * @param addR size of a block; usual is half of {@code target_r}
   * @param maxR largest rank of a module
   * @param growth {@code linear} or {@code nonlinear}: how the number of growing modules rises
   * @param initWarmup steps before the first growth
   * @param increInterval steps from one growth to the next
   * @param orthRegWeight weight of the mean of {@code |A At - I|} and {@code |Bt B - I|} in the
   *     loss
   */
  public record Config(
      int targetR,
      int initR,
      int addR,
      int maxR,
      String growth,
      int initWarmup,
      int increInterval,
      double orthRegWeight,
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
      new Problems()
          .require(initR >= 1, "init_r", initR, "must be 1 or more; usual is 1")
          .require(targetR >= initR, "target_r", targetR, "must be at least init_r = " + initR)
          .require(addR >= 1, "add_r", addR, "must be 1 or more; usual is half of target_r")
          .require(
              maxR >= targetR && maxR <= 512,
              "max_r",
              maxR,
              "must be target_r = " + targetR + "..512; usual is 2 target_r")
          .require(
              List.of("linear", "nonlinear").contains(growth),
              "growth",
              growth,
              "must be linear or nonlinear")
          .require(initWarmup >= 0, "init_warmup", initWarmup, "must be 0 steps or more")
          .require(increInterval >= 1, "incre_interval", increInterval, "must be 1 step or more")
          .require(
              orthRegWeight >= 0 && Double.isFinite(orthRegWeight),
              "orth_reg_weight",
              orthRegWeight,
              "must be 0 or above; usual is 0.5")
          .require(
              loraAlpha > 0 && Double.isFinite(loraAlpha),
              "lora_alpha",
              loraAlpha,
              "must be above 0; usual is 16")
          .require(
              loraDropout >= 0 && loraDropout < 1, "lora_dropout", loraDropout, "must be in [0, 1)")
          .throwIfAny();
    }

    @Override
    public String peftType() {
      return "TRIADAPTLORA";
    }
  }

  @Override
  public String peftType() {
    return "TRIADAPTLORA";
  }

  @Override
  public Class<Config> configType() {
    return Config.class;
  }

  @Override
  public MethodClass methodClass() {
    return MethodClass.REPARAMETERISED;
  }

  /** From rank 1 to a mean of 8 in blocks of 4, on query and value. */
  @Override
  public Config defaults() {
    return new Config(
        8,
        1,
        4,
        17,
        "linear",
        100,
        100,
        0.5,
        16,
        0,
        TargetModules.of("query", "value"),
        List.of(),
        List.of(),
        List.of("classifier"));
  }

  @Override
  public Set<String> trainingFields() {
    return Set.of("target_r", "growth", "init_warmup", "incre_interval", "orth_reg_weight");
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

  /**
   * How many modules grow at a step, from 1 to all.
   *
   * @param missing ranks still to give, above 0
   * @param modules number of modules
   */
  static int growing(Config config, int missing, int modules, long step, long total) {
    double share =
        Math.min(1, (double) (step - config.initWarmup()) / (total - config.initWarmup()));
    double count =
        config.growth().equals("linear") ? missing * share : Math.exp(share * Math.log(missing));
    return Math.max(1, Math.min(modules, (int) count));
  }

  /** Number of blocks of a core. */
  private static int blocks(Config config, int rank) {
    return 1 + (rank - config.initR()) / config.addR();
  }

  private static int block(Config config, int row) {
    return row < config.initR() ? 0 : 1 + (row - config.initR()) / config.addR();
  }

  /**
   * The leading {@code [rank, rank]} part of the core, row-major.
   *
   * @param lower {@code [max_r, max_r]}; what is above its diagonal blocks is left out
   * @param upper {@code [max_r, max_r]}; likewise below
   */
  static float[] core(Config config, int rank, float[] lower, float[] upper) {
    float[] core = new float[rank * rank];
    int r = config.maxR();
    for (int i = 0; i < rank; i++) {
      for (int j = 0; j < rank; j++) {
        int at = i * r + j;
        core[i * rank + j] =
            (block(config, j) <= block(config, i) ? lower[at] : 0)
                + (block(config, i) <= block(config, j) ? upper[at] : 0);
      }
    }
    return core;
  }

  /** {@code |C|_F / blocks}. */
  static float importance(Config config, int rank, float[] core) {
    double sum = 0;
    for (float c : core) {
      sum += (double) c * c;
    }
    return (float) (Math.sqrt(sum) / blocks(config, rank));
  }

  /** Ranks after the best modules grew, at most one addition above the target. */
  static int[] grown(Config config, int[] ranks, float[] scores, long step, long total) {
    int[] grown = ranks.clone();
    int missing = config.targetR() * ranks.length - Arrays.stream(ranks).sum();
    if (missing <= 0) {
      return grown;
    }
    int picks =
        Math.min(
            growing(config, missing, ranks.length, step, total),
            (missing + config.addR() - 1) / config.addR());
    for (int module : Ranking.falling(scores)) {
      if (picks > 0 && ranks[module] + config.addR() <= config.maxR()) {
        grown[module] += config.addR();
        picks--;
      }
    }
    return grown;
  }

  private static final String LOWER = "lower";
  private static final String UPPER = "upper";

  private record Attached(Config config, List<ModuleSpec> modules) implements AttachedMethod {

    private static String a(ModuleSpec module) {
      return module.path() + ".lora_A";
    }

    private static String b(ModuleSpec module) {
      return module.path() + ".lora_B";
    }

    private static String row(ModuleSpec module) {
      return module.path() + ".lora_C_row";
    }

    private static String column(ModuleSpec module) {
      return module.path() + ".lora_C_col";
    }

    private static String rank(ModuleSpec module) {
      return module.path() + ".rank";
    }

    /** 1 for each row that counts. */
    private static String active(ModuleSpec module) {
      return module.path() + ".active";
    }

    /** Scale of each row that counts, else 0. */
    private static String gain(ModuleSpec module) {
      return module.path() + ".gain";
    }

    @Override
    public Map<String, List<Integer>> shapes() {
      Map<String, List<Integer>> shapes = new LinkedHashMap<>();
      int r = config.maxR();
      for (ModuleSpec module : modules) {
        shapes.put(a(module), List.of(r, module.in()));
        shapes.put(b(module), List.of(module.out(), r));
        shapes.put(row(module), List.of(r, r));
        shapes.put(column(module), List.of(r, r));
      }
      return shapes;
    }

    @Override
    public MethodState initialState(long seed, BaseWeights base) {
      int[] ranks = new int[modules.size()];
      Arrays.fill(ranks, config.initR());
      return state(ranks);
    }

    private MethodState state(int[] ranks) {
      MethodState.Builder state = new MethodState.Builder();
      int r = config.maxR();
      for (int m = 0; m < ranks.length; m++) {
        float[] active = new float[r];
        float[] gain = new float[r];
        Arrays.fill(active, 0, ranks[m], 1);
        Arrays.fill(gain, 0, ranks[m], scale(ranks[m]));
        state
            .integers(rank(modules.get(m)), List.of(1), new int[] {ranks[m]})
            .floats(active(modules.get(m)), List.of(r), active)
            .floats(gain(modules.get(m)), List.of(r), gain);
      }
      float[] ones = new float[r * r];
      Arrays.fill(ones, 1);
      return state
          .floats(LOWER, List.of(r, r), core(config, r, ones, new float[r * r]))
          .floats(UPPER, List.of(r, r), core(config, r, new float[r * r], ones))
          .build();
    }

    private float scale(int rank) {
      return (float) (config.loraAlpha() / (rank + 1e-5));
    }

    private int[] ranks(MethodState state) {
      return modules.stream().mapToInt(module -> state.integers(rank(module))[0]).toArray();
    }

    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      Map<String, float[]> values = new LinkedHashMap<>();
      int r = config.maxR();
      for (ModuleSpec module : modules) {
        Philox random = Philox.of(seed, "triadaptlora", Philox.hash(module.path()));
        values.put(a(module), random.child(0).gaussian(r * module.in(), 0.02));
        values.put(b(module), new float[r * module.out()]);
        float[] none = new float[r * r];
        values.put(row(module), core(config, r, random.child(1).gaussian(r * r, 0.02), none));
        values.put(column(module), core(config, r, none, random.child(2).gaussian(r * r, 0.02)));
      }
      return values;
    }

    @Override
    public List<Modification> modifications(MethodTensors tensors, TuningContext context) {
      List<Modification> modifications = new ArrayList<>();
      for (ModuleSpec module : modules) {
        NDArray a = tensors.parameter(a(module));
        NDArray b = tensors.parameter(b(module));
        NDArray core =
            tensors
                .parameter(row(module))
                .mul(tensors.state(LOWER))
                .add(tensors.parameter(column(module)).mul(tensors.state(UPPER))); // [r, r]
        NDArray active = tensors.state(active(module));
        NDArray gain = tensors.state(gain(module));
        modifications.add(
            Modification.parallel(
                module.path(),
                x -> {
                  NDArray low = Linear.of(dropped(module, x, context), a, null).mul(active);
                  return LowRank.delta(low, core, gain, b);
                }));
      }
      if (context.training() && config.orthRegWeight() > 0) {
        context.addToLoss(penalty(tensors));
      }
      return modifications;
    }

    private NDArray dropped(ModuleSpec module, NDArray x, TuningContext context) {
      if (!context.training() || config.loraDropout() == 0) {
        return x;
      }
      Philox random = context.random().child(Philox.hash(module.path()));
      return Dropout.apply(x, config.loraDropout(), random);
    }

    private NDArray penalty(MethodTensors tensors) {
      NDArray sum = null;
      for (ModuleSpec module : modules) {
        NDArray active = tensors.state(active(module));
        NDArray a = tensors.parameter(a(module)).transpose(); // [in, r]
        NDArray b = tensors.parameter(b(module)); // [out, r]
        for (NDArray columns : List.of(a, b)) {
          NDArray counted = columns.mul(active);
          NDArray eye = counted.getManager().eye(config.maxR()).mul(active);
          NDArray term = counted.transpose().matMul(counted).sub(eye).norm();
          sum = sum == null ? term : sum.add(term);
        }
      }
      if (sum == null) {
        throw new IllegalStateException("no modules");
      }
      return Scalars.times(sum, (float) (config.orthRegWeight() / (2 * modules.size())));
    }

    @Override
    public StepObserver observer(MethodState state, TrainingSpan span, ParameterLayout layout) {
      return new Growing(this, ranks(state), span, layout);
    }

    @Override
    public RoundDecision.Output decide(MethodState state, RoundDecision.Input input) {
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
      int[] ranks = ranks(state);
      for (int i = 0; i < events; i++) {
        ranks = grown(config, ranks, scores, now, total);
      }
      return new RoundDecision.Output(events == 0 ? state : state(ranks), input.parameters());
    }

    /** {@code W + s (B C) A}. */
    @Override
    public Map<String, float[]> fuse(
        ParameterVector parameters, MethodState state, BaseWeights base) {
      Map<String, float[]> fused = new LinkedHashMap<>();
      int[] ranks = ranks(state);
      for (int m = 0; m < ranks.length; m++) {
        ModuleSpec module = modules.get(m);
        int rank = ranks[m];
        int r = config.maxR();
        float[] core =
            core(config, rank, parameters.tensor(row(module)), parameters.tensor(column(module)));
        float[] b = parameters.tensor(b(module));
        float[] product = new float[module.out() * r]; // B C, [out, r]
        for (int o = 0; o < module.out(); o++) {
          for (int i = 0; i < rank; i++) {
            for (int j = 0; j < rank; j++) {
              product[o * r + j] += b[o * r + i] * core[i * rank + j];
            }
          }
        }
        String name = module.path() + ".weight";
        float[] weight = base.tensor(name).clone();
        LowRank.addProduct(
            weight, parameters.tensor(a(module)), state.floats(gain(module)), product);
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
          StateFiles.takeIntegers(file, initialState(0, base), config.maxR());
      int[] ranks = new int[modules.size()];
      for (int m = 0; m < ranks.length; m++) {
        String name = rank(modules.get(m));
        int[] value = integers.getOrDefault(name, new int[] {0});
        ranks[m] = value[0];
        if (ranks[m] < config.initR() || (ranks[m] - config.initR()) % config.addR() != 0) {
          throw file.wrong(
              name
                  + " is "
                  + ranks[m]
                  + "; it must be init_r = "
                  + config.initR()
                  + " and some blocks of add_r = "
                  + config.addR());
        }
      }
      return new Loaded(file.takeAll(shapes()), state(ranks));
    }
  }

  /** Scores cores; lets them grow where nobody else does. */
  private static final class Growing implements StepObserver {
    private final Attached attached;
    private final TrainingSpan span;
    private final ParameterLayout layout;
    private final StepFactors factors;
    private int[] ranks;
    private float[] seen = new float[0];
    private float[] latest = new float[0];

    Growing(Attached attached, int[] ranks, TrainingSpan span, ParameterLayout layout) {
      this.attached = attached;
      this.ranks = ranks;
      this.span = span;
      this.layout = layout;
      this.factors = new StepFactors(layout.size());
      limit();
    }

    @Override
    public void beforeStep(Update update) {
      if (seen.length == 0) {
        seen = importances(update.parameters());
      }
      factors.remember(update.parameters());
    }

    @Override
    public Optional<MethodState> afterStep(Update update) {
      factors.apply(update.parameters());
      Config config = attached.config();
      long step = span.firstUpdate() + update.update();
      boolean due = step > config.initWarmup() && step % config.increInterval() == 0;
      boolean last = update.update() == span.updates() - 1;
      if (last || (span.alone() && due)) {
        latest = importances(update.parameters());
      }
      if (!span.alone() || !due) {
        return Optional.empty();
      }
      int[] before = ranks;
      ranks = grown(config, ranks, scores(), step, span.totalUpdates());
      seen = latest;
      limit();
      restart(before, update);
      return Optional.of(attached.state(ranks));
    }

    private float[] importances(float[] parameters) {
      float[] importances = new float[ranks.length];
      for (int m = 0; m < ranks.length; m++) {
        ModuleSpec module = attached.modules().get(m);
        float[] core =
            core(
                attached.config(),
                ranks[m],
                slice(Attached.row(module), parameters),
                slice(Attached.column(module), parameters));
        importances[m] = importance(attached.config(), ranks[m], core);
      }
      return importances;
    }

    private float[] slice(String name, float[] parameters) {
      ParameterLayout.Entry entry = layout.entry(name);
      return Arrays.copyOfRange(parameters, entry.offset(), entry.end());
    }

    private float[] scores() {
      float[] scores = latest.clone();
      for (int m = 0; m < scores.length; m++) {
        scores[m] -= seen[m];
      }
      return scores;
    }

    /** Calls {@code use} with every place that belongs to rows {@code from..to} of a module. */
    private void places(int m, int from, int to, IntConsumer use) {
      ModuleSpec module = attached.modules().get(m);
      int r = attached.config().maxR();
      int a = layout.entry(Attached.a(module)).offset();
      int b = layout.entry(Attached.b(module)).offset();
      int row = layout.entry(Attached.row(module)).offset();
      int column = layout.entry(Attached.column(module)).offset();
      for (int i = from; i < to; i++) {
        for (int j = 0; j < module.in(); j++) {
          use.accept(a + i * module.in() + j);
        }
        for (int o = 0; o < module.out(); o++) {
          use.accept(b + o * r + i);
        }
        for (int j = 0; j < to; j++) {
          for (int core : new int[] {row, column}) {
            use.accept(core + i * r + j);
            use.accept(core + j * r + i);
          }
        }
      }
    }

    /** What does not count yet stays as it was drawn. */
    private void limit() {
      factors.reset();
      for (int m = 0; m < ranks.length; m++) {
        places(m, ranks[m], attached.config().maxR(), place -> factors.set(place, 0));
      }
    }

    /** The optimiser has seen nothing of what is new. */
    private void restart(int[] before, Update update) {
      for (int m = 0; m < ranks.length; m++) {
        places(m, before[m], ranks[m], place -> update.moments().restart(place, 0, 0, 0));
      }
    }

    @Override
    public Map<String, float[]> report() {
      if (span.alone() || latest.length == 0) {
        return Map.of();
      }
      Map<String, float[]> report = new TreeMap<>();
      float[] scores = scores();
      for (int m = 0; m < scores.length; m++) {
        report.put(attached.modules().get(m).path(), new float[] {scores[m]});
      }
      report.put(Ranking.TOTAL_UPDATES, new float[] {span.totalUpdates()});
      return report;
    }
  }
}
