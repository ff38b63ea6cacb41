package org.sparkpeft.core.peft.allocation;

import ai.djl.ndarray.NDArray;
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
import java.util.stream.IntStream;
import org.sparkpeft.core.engine.Scalars;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.peft.AdapterTensors;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.BaseWeights;
import org.sparkpeft.core.peft.ConfigRecords;
import org.sparkpeft.core.peft.Dropout;
import org.sparkpeft.core.peft.FieldName;
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
 * AdaLoRA (Zhang et al. 2023, arXiv 2303.10512): {@code y = W x + b + s B diag(E) A x} with {@code
 * A [r, in]}, {@code E [r, 1]}, {@code B [out, r]}, {@code r = init_r} and {@code s = lora_alpha /
 * (init_r + 1e-5)}, which does not change. The least important of all triplets (a row of A, an
 * entry of E, a column of B) lose their E until a budget of {@code target_r} for each module is
 * reached; before the last phase E may grow back. As Hugging Face has it, but for two things: of
 * triplets with equal scores no more are masked than the budget asks for, and the last update
 * decides even where {@code tfinal} is 0.
 *
 * <p>In a federation clients report importances, each divided by its client's mean, and the driver
 * masks by the schedule's budget at the rounds' step, whatever {@code deltaT} is. Factors are
 * averaged one by one; the orthogonality penalty keeps triplets of different clients aligned.
 */
public final class AdaLora implements PeftMethod<AdaLora.Config> {

  /**
   * Settings.
   *
   * @param targetR mean rank of a module at the end
   * @param initR rank of every module at the start, at least {@code target_r}
   * @param tinit steps before the budget starts to fall
   * @param tfinal steps at the end in which the ranks are fixed
   * @param deltaT steps from one masking to the next
   * @param beta1 smoothing of the sensitivity
   * @param beta2 smoothing of the uncertainty
   * @param orthRegWeight weight of the mean of {@code |At A - I|} and {@code |B Bt - I|} in the
   *     loss
   * @param totalStep steps of the schedule; 0 for as many as the training has
   * @param loraAlpha numerator of the scaling; {@code init_r} where it is 0 or below
   */
  public record Config(
      int targetR,
      int initR,
      int tinit,
      int tfinal,
      @FieldName("deltaT") int deltaT,
      double beta1,
      double beta2,
      double orthRegWeight,
      int totalStep,
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
          .require(initR >= 1 && initR <= 512, "init_r", initR, "must be 1..512; usual is 12")
          .require(
              targetR >= 1 && targetR <= initR,
              "target_r",
              targetR,
              "must be 1..init_r = " + initR + ", since ranks only fall")
          .require(tinit >= 0, "tinit", tinit, "must be 0 steps or more")
          .require(tfinal >= 0, "tfinal", tfinal, "must be 0 steps or more")
          .require(deltaT >= 1, "deltaT", deltaT, "must be 1 step or more")
          .require(beta1 > 0 && beta1 < 1, "beta1", beta1, "must be in (0, 1); usual is 0.85")
          .require(beta2 > 0 && beta2 < 1, "beta2", beta2, "must be in (0, 1); usual is 0.85")
          .require(
              orthRegWeight >= 0 && Double.isFinite(orthRegWeight),
              "orth_reg_weight",
              orthRegWeight,
              "must be 0 or above; usual is 0.5")
          .require(
              totalStep == 0 || tinit < (long) totalStep - tfinal,
              "total_step",
              totalStep,
              "must exceed tinit + tfinal = "
                  + ((long) tinit + tfinal)
                  + ", or be 0 for the training's own length")
          .require(Double.isFinite(loraAlpha), "lora_alpha", loraAlpha, "must be a number")
          .require(
              loraDropout >= 0 && loraDropout < 1,
              "lora_dropout",
              loraDropout,
              "must be in [0, 1)");
      layersToTransform.forEach(
          layer ->
              problems.require(
                  layer >= 0, "layers_to_transform", layer, "layer numbers start at 0"));
      problems.throwIfAny();
    }

    @Override
    public String peftType() {
      return "ADALORA";
    }
  }

  @Override
  public String peftType() {
    return "ADALORA";
  }

  @Override
  public Class<Config> configType() {
    return Config.class;
  }

  @Override
  public MethodClass methodClass() {
    return MethodClass.REPARAMETERISED;
  }

  /** From rank 12 to 8, alpha 16, on query and value, over the whole training. */
  @Override
  public Config defaults() {
    return config(16, List.of("classifier"));
  }

  @Override
  public Config fileDefaults() {
    return config(8, List.of());
  }

  private static Config config(double alpha, List<String> save) {
    return new Config(
        8,
        12,
        0,
        0,
        1,
        0.85,
        0.85,
        0.5,
        0,
        alpha,
        0,
        TargetModules.of("query", "value"),
        List.of(),
        List.of(),
        save);
  }

  @Override
  public Map<String, Object> inertFields() {
    Map<String, Object> fields = new TreeMap<>();
    for (String unset :
        List.of(
            "alora_invocation_tokens",
            "arrow_config",
            "corda_config",
            "eva_config",
            "kasa_config",
            "layer_replication",
            "layers_pattern",
            "lora_ga_config",
            "megatron_config",
            "monteclora_config",
            "rank_pattern",
            "target_parameters",
            "trainable_token_indices",
            "use_bdlora",
            "velora_config")) {
      fields.put(unset, null);
    }
    for (String off :
        List.of(
            "ensure_weight_tying",
            "fan_in_fan_out",
            "lora_bias",
            "use_dora",
            "use_qalora",
            "use_rslora")) {
      fields.put(off, false);
    }
    fields.put("alpha_pattern", Map.of());
    fields.put("bias", "none");
    fields.put("init_lora_weights", true);
    fields.put("loftq_config", Map.of());
    fields.put("megatron_core", "megatron.core");
    fields.put("qalora_group_size", 16);
    fields.put("r", 8);
    return fields;
  }

  /** The learnt ranks go to the state, and {@code r} means nothing here, as in Hugging Face. */
  @Override
  public Config readConfig(Map<String, Object> fields) {
    Map<String, Object> own = new LinkedHashMap<>(fields);
    own.remove("rank_pattern");
    own.remove("r");
    return ConfigRecords.read(configType(), fileDefaults(), own, inertFields());
  }

  @Override
  public Set<String> trainingFields() {
    return Set.of(
        "target_r", "tinit", "tfinal", "deltaT", "beta1", "beta2", "orth_reg_weight", "total_step");
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
                Set.of(ModuleSpec.Kind.LINEAR))
            .stream()
            .map(Site::new)
            .toList());
  }

  /**
   * Triplets that may be alive at a step.
   *
   * @param initial triplets at the start
   * @param target triplets at the end
   * @param total steps of the schedule
   */
  static int budget(Config config, int initial, int target, long step, long total) {
    if (step <= config.tinit()) {
      return initial;
    }
    long length = total - config.tfinal() - config.tinit();
    if (step >= total - config.tfinal()) {
      return target;
    }
    double left = 1 - (double) (step - config.tinit()) / length;
    return (int) ((initial - target) * (left * left * left) + target);
  }

  private record Site(ModuleSpec module) {
    String nameA() {
      return module.path() + ".lora_A";
    }

    String nameB() {
      return module.path() + ".lora_B";
    }

    String nameE() {
      return module.path() + ".lora_E";
    }
  }

  /** 1 once ranks do not change any more. */
  private static final String FIXED = "fixed";

  /** The schedule's length; 0 as long as it is not known. */
  private static final String TOTAL = "total_step";

  private record Attached(Config config, List<Site> sites) implements AttachedMethod {

    private float scale() {
      double alpha = config.loraAlpha() > 0 ? config.loraAlpha() : config.initR();
      return (float) (alpha / (config.initR() + 1e-5));
    }

    private int initial() {
      return config.initR() * sites.size();
    }

    private int target() {
      return config.targetR() * sites.size();
    }

    @Override
    public Map<String, List<Integer>> shapes() {
      Map<String, List<Integer>> shapes = new LinkedHashMap<>();
      for (Site site : sites) {
        shapes.put(site.nameA(), List.of(config.initR(), site.module().in()));
        shapes.put(site.nameB(), List.of(site.module().out(), config.initR()));
        shapes.put(site.nameE(), List.of(config.initR(), 1));
      }
      return shapes;
    }

    @Override
    public MethodState initialState(long seed, BaseWeights base) {
      boolean[] all = new boolean[initial()];
      Arrays.fill(all, true);
      return state(all, false, config.totalStep());
    }

    /**
     * @param kept for every triplet, module after module
     */
    private MethodState state(boolean[] kept, boolean fixed, int total) {
      MethodState.Builder state = new MethodState.Builder();
      int next = 0;
      for (Site site : sites) {
        int[] mask = new int[config.initR()];
        for (int i = 0; i < mask.length; i++) {
          mask[i] = kept[next++] ? 1 : 0;
        }
        state.integers(site.nameE(), List.of(mask.length), mask);
      }
      return state
          .integers(FIXED, List.of(1), new int[] {fixed ? 1 : 0})
          .integers(TOTAL, List.of(1), new int[] {total})
          .build();
    }

    private boolean isFixed(MethodState state) {
      return state.integers(FIXED)[0] == 1;
    }

    /** A and B from N(0, 0.02), E zero: the base unchanged. */
    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      Map<String, float[]> values = new LinkedHashMap<>();
      for (Site site : sites) {
        Philox random = Philox.of(seed, "adalora", Philox.hash(site.module().path()));
        int r = config.initR();
        values.put(site.nameA(), random.child(0).gaussian(r * site.module().in(), 0.02));
        values.put(site.nameB(), random.child(1).gaussian(r * site.module().out(), 0.02));
        values.put(site.nameE(), new float[r]);
      }
      return values;
    }

    @Override
    public List<Modification> modifications(MethodTensors tensors, TuningContext context) {
      List<Modification> modifications = new ArrayList<>();
      for (Site site : sites) {
        NDArray a = tensors.parameter(site.nameA());
        NDArray b = tensors.parameter(site.nameB());
        NDArray e =
            Scalars.times(
                tensors.parameter(site.nameE()).reshape(new Shape(config.initR())), scale());
        modifications.add(
            Modification.parallel(
                site.module().path(), x -> LowRank.delta(dropped(site, x, context), a, e, b)));
      }
      if (context.training() && config.orthRegWeight() > 0) {
        context.addToLoss(penalty(tensors));
      }
      return modifications;
    }

    private NDArray dropped(Site site, NDArray x, TuningContext context) {
      if (!context.training() || config.loraDropout() == 0) {
        return x;
      }
      Philox random = context.random().child(Philox.hash(site.module().path()));
      return Dropout.apply(x, config.loraDropout(), random);
    }

    private NDArray penalty(MethodTensors tensors) {
      NDArray sum = null;
      for (Site site : sites) {
        NDArray a = LowRank.orthogonality(tensors.parameter(site.nameA()));
        NDArray b = LowRank.orthogonality(tensors.parameter(site.nameB()).transpose());
        sum = sum == null ? a.add(b) : sum.add(a).add(b);
      }
      if (sum == null) {
        throw new IllegalStateException("no modules");
      }
      return Scalars.times(sum, (float) (config.orthRegWeight() / (2 * sites.size())));
    }

    @Override
    public StepObserver observer(MethodState state, TrainingSpan span, ParameterLayout layout) {
      return new Scoring(this, state, span, layout);
    }

    /** Steps of the whole. */
    private long total(long updates) {
      long total = config.totalStep() > 0 ? config.totalStep() : updates;
      if (total - config.tfinal() <= config.tinit()) {
        throw new ConfigException(
            "total_step",
            "a training of "
                + total
                + " steps leaves none between tinit "
                + config.tinit()
                + " and tfinal "
                + config.tfinal()
                + " to lower ranks in; train longer or lower them");
      }
      return total;
    }

    /** Zeroes the E of masked triplets. */
    private void mask(boolean[] kept, ParameterLayout layout, float[] parameters) {
      int next = 0;
      for (Site site : sites) {
        int offset = layout.entry(site.nameE()).offset();
        for (int i = 0; i < config.initR(); i++) {
          if (!kept[next++]) {
            parameters[offset + i] = 0;
          }
        }
      }
    }

    private boolean[] kept(MethodState state) {
      boolean[] kept = new boolean[initial()];
      int next = 0;
      for (Site site : sites) {
        for (int bit : state.integers(site.nameE())) {
          kept[next++] = bit == 1;
        }
      }
      return kept;
    }

    @Override
    public RoundDecision.Output decide(MethodState state, RoundDecision.Input input) {
      float[] scores = new float[initial()];
      int next = 0;
      for (Site site : sites) {
        float[] some = input.reports().get(site.nameE());
        if (some == null || isFixed(state)) {
          return new RoundDecision.Output(state, input.parameters());
        }
        System.arraycopy(some, 0, scores, next, some.length);
        next += some.length;
      }
      long total = total(Ranking.totalUpdates(input.reports()));
      long step = Math.round(input.progress() * total);
      boolean fixed = step >= total - config.tfinal();
      boolean[] kept = Ranking.best(scores, budget(config, initial(), target(), step, total));
      float[] parameters = input.parameters().toArray();
      mask(kept, input.parameters().layout(), parameters);
      return new RoundDecision.Output(
          state(kept, fixed, Math.toIntExact(total)),
          ParameterVector.wrap(input.parameters().layout(), parameters));
    }

    @Override
    public Map<String, float[]> fuse(
        ParameterVector parameters, MethodState state, BaseWeights base) {
      Map<String, float[]> fused = new LinkedHashMap<>();
      for (Site site : sites) {
        String name = site.module().path() + ".weight";
        float[] weight = base.tensor(name).clone();
        float[] e = parameters.tensor(site.nameE());
        for (int i = 0; i < e.length; i++) {
          e[i] *= scale();
        }
        LowRank.addProduct(
            weight, parameters.tensor(site.nameA()), e, parameters.tensor(site.nameB()));
        fused.put(name, weight);
      }
      return fused;
    }

    /** Once ranks are fixed, kept rows and columns only. */
    @Override
    public SortedMap<String, TensorData> save(ParameterVector parameters, MethodState state) {
      if (!isFixed(state)) {
        return AttachedMethod.super.save(parameters, state);
      }
      List<TensorData> file = new ArrayList<>();
      for (Site site : sites) {
        int[] mask = state.integers(site.nameE());
        int in = site.module().in();
        int out = site.module().out();
        int[] rows = IntStream.range(0, mask.length).filter(i -> mask[i] == 1).toArray();
        float[] a = parameters.tensor(site.nameA());
        float[] b = parameters.tensor(site.nameB());
        float[] e = parameters.tensor(site.nameE());
        float[] keptA = new float[rows.length * in];
        float[] keptB = new float[out * rows.length];
        float[] keptE = new float[rows.length];
        for (int i = 0; i < rows.length; i++) {
          System.arraycopy(a, rows[i] * in, keptA, i * in, in);
          keptE[i] = e[rows[i]];
          for (int o = 0; o < out; o++) {
            keptB[o * rows.length + i] = b[o * mask.length + rows[i]];
          }
        }
        file.add(tensor(site.nameA(), List.of(rows.length, in), keptA));
        file.add(tensor(site.nameB(), List.of(out, rows.length), keptB));
        file.add(tensor(site.nameE(), List.of(rows.length, 1), keptE));
      }
      return TensorData.byName(file);
    }

    private static TensorData tensor(String name, List<Integer> shape, float[] values) {
      return TensorData.ofFloats(AdapterTensors.PREFIX + name, shape, values);
    }

    @Override
    public SortedMap<String, Object> savedFields(MethodState state) {
      SortedMap<String, Object> fields = new TreeMap<>();
      fields.put(TOTAL, state.integers(TOTAL)[0]);
      if (isFixed(state)) {
        Map<String, List<Boolean>> pattern = new TreeMap<>();
        for (Site site : sites) {
          pattern.put(
              site.nameE(),
              Arrays.stream(state.integers(site.nameE())).mapToObj(bit -> bit == 1).toList());
        }
        fields.put("rank_pattern", pattern);
      }
      return fields;
    }

    @Override
    public Loaded load(AdapterTensors file, BaseWeights base) {
      Optional<Object> pattern = file.field("rank_pattern");
      if (pattern.isEmpty()) {
        return new Loaded(file.takeAll(shapes()), initialState(0, base));
      }
      boolean[] kept = new boolean[initial()];
      int next = 0;
      Map<String, float[]> values = new LinkedHashMap<>();
      for (Site site : sites) {
        int[] rows = rows(file, pattern.get(), site);
        for (int row : rows) {
          kept[next + row] = true;
        }
        next += config.initR();
        values.putAll(spread(file, site, rows));
      }
      return new Loaded(values, state(kept, true, config.totalStep()));
    }

    /** Rows that the file keeps of a module. */
    private int[] rows(AdapterTensors file, Object pattern, Site site) {
      Object bits = null;
      if (pattern instanceof Map<?, ?> map) {
        Object plain = map.get(site.nameE());
        bits = plain != null ? plain : map.get(site.nameE() + ".default");
      }
      if (!(bits instanceof List<?> list)
          || list.size() != config.initR()
          || !list.stream().allMatch(Boolean.class::isInstance)) {
        throw file.wrong(
            "rank_pattern of "
                + site.nameE()
                + " must be a list of init_r = "
                + config.initR()
                + " times true or false, got "
                + bits);
      }
      return IntStream.range(0, list.size())
          .filter(i -> Boolean.TRUE.equals(list.get(i)))
          .toArray();
    }

    /** The kept rows at their places, zeros elsewhere. */
    private Map<String, float[]> spread(AdapterTensors file, Site site, int[] rows) {
      int r = config.initR();
      int in = site.module().in();
      int out = site.module().out();
      String prefix = AdapterTensors.PREFIX;
      float[] keptA = file.take(prefix + site.nameA(), List.of(rows.length, in)).toFloats();
      float[] keptB = file.take(prefix + site.nameB(), List.of(out, rows.length)).toFloats();
      float[] keptE = file.take(prefix + site.nameE(), List.of(rows.length, 1)).toFloats();
      float[] a = new float[r * in];
      float[] b = new float[out * r];
      float[] e = new float[r];
      for (int i = 0; i < rows.length; i++) {
        System.arraycopy(keptA, i * in, a, rows[i] * in, in);
        e[rows[i]] = keptE[i];
        for (int o = 0; o < out; o++) {
          b[o * r + rows[i]] = keptB[o * rows.length + i];
        }
      }
      return Map.of(site.nameA(), a, site.nameB(), b, site.nameE(), e);
    }
  }

  /** Scores triplets; masks them itself where nobody else does. */
  private static final class Scoring implements StepObserver {
    private final Attached attached;
    private final TrainingSpan span;
    private final ParameterLayout layout;
    private final long total;
    private final Importance importance;
    private boolean[] kept;
    private boolean fixed;

    Scoring(Attached attached, MethodState state, TrainingSpan span, ParameterLayout layout) {
      this.attached = attached;
      this.span = span;
      this.layout = layout;
      this.total = attached.total(span.totalUpdates());
      Config config = attached.config();
      this.importance = new Importance(layout.size(), config.beta1(), config.beta2());
      this.kept = attached.kept(state);
      this.fixed = attached.isFixed(state);
    }

    /** The sensitivity is of the parameters after the step and the gradient before it. */
    @Override
    public Optional<MethodState> afterStep(Update update) {
      Config config = attached.config();
      if (fixed) {
        attached.mask(kept, layout, update.parameters());
        return Optional.empty();
      }
      long step = span.firstUpdate() + update.update();
      boolean falling = step < total - config.tfinal();
      if (falling) {
        score(update);
      }
      boolean last = span.alone() && update.update() == span.updates() - 1 && step + 1 >= total;
      fixed = span.alone() && (!falling || last);
      boolean now = step > config.tinit() && step % config.deltaT() == 0;
      if (!span.alone() || !(fixed || now)) {
        return Optional.empty();
      }
      int target = attached.target();
      int budget = fixed ? target : budget(config, attached.initial(), target, step, total);
      kept = Ranking.best(scores(), budget);
      attached.mask(kept, layout, update.parameters());
      return Optional.of(attached.state(kept, fixed, Math.toIntExact(total)));
    }

    private void score(Update update) {
      for (Site site : attached.sites()) {
        for (String name : List.of(site.nameA(), site.nameB(), site.nameE())) {
          ParameterLayout.Entry entry = layout.entry(name);
          for (int i = entry.offset(); i < entry.end(); i++) {
            importance.add(i, Math.abs(update.parameters()[i] * update.gradient()[i]));
          }
        }
      }
    }

    private float[] scores() {
      float[] all = new float[attached.initial()];
      int next = 0;
      for (Site site : attached.sites()) {
        for (float score : scores(site)) {
          all[next++] = score;
        }
      }
      return all;
    }

    /** {@code s(E_i) + mean of s(A_i.) + mean of s(B_.i)} for each triplet of a module. */
    private float[] scores(Site site) {
      int r = attached.config().initR();
      int in = site.module().in();
      int out = site.module().out();
      int a = layout.entry(site.nameA()).offset();
      int b = layout.entry(site.nameB()).offset();
      int e = layout.entry(site.nameE()).offset();
      float[] scores = new float[r];
      for (int i = 0; i < r; i++) {
        double sumA = 0;
        for (int j = 0; j < in; j++) {
          sumA += importance.score(a + i * in + j);
        }
        double sumB = 0;
        for (int j = 0; j < out; j++) {
          sumB += importance.score(b + j * r + i);
        }
        scores[i] = (float) (importance.score(e + i) + sumA / in + sumB / out);
      }
      return scores;
    }

    @Override
    public Map<String, float[]> report() {
      if (span.alone() || fixed) {
        return Map.of();
      }
      Map<String, float[]> scores = new TreeMap<>();
      for (Site site : attached.sites()) {
        scores.put(site.nameE(), scores(site));
      }
      Ranking.normalise(scores.values());
      scores.put(Ranking.TOTAL_UPDATES, new float[] {total});
      return scores;
    }
  }
}
