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
import java.util.function.Function;
import java.util.stream.IntStream;
import org.sparkpeft.core.engine.Scalars;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.model.LayerPaths;
import org.sparkpeft.core.model.ModelInput;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.peft.AdapterTensors;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.BaseWeights;
import org.sparkpeft.core.peft.Dropout;
import org.sparkpeft.core.peft.Insertion;
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
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * Light-PEFT (Gu et al. 2024, arXiv 2406.03792) on LoRA: during an estimation phase the attention
 * heads and feed-forward neurons of every layer are multiplied by masks that are trained beside the
 * adapter, with {@code mask_penalty} times their absolute sum in the loss; then heads, neurons,
 * LoRA modules and ranks of low importance are pruned for good and the rest goes on. A head's mask
 * acts on what it gives the output projection, which is the same as acting on its probabilities.
 *
 * <ul>
 *   <li>heads stay above their layer's quantile {@code head_ratio} of masks, with their sign;
 *       neurons above the quantile of all layers;
 *   <li>modules stay above the quantile {@code module_ratio} of the mean over tokens of {@code |s B
 *       A x| / |W x + b|};
 *   <li>ranks of those modules stay above the quantile {@code rank_ratio} of {@code |mean(A_i *
 *       dA_i)| + |mean(B_i * dB_i)|}.
 * </ul>
 *
 * <p>Importances are means over the phase's second half. At least one head and neuron of a layer,
 * one module, and one rank of a kept module stay (ours). The scaling stays {@code lora_alpha / r}.
 * Pruned parts are multiplied by zero, not cut out: the same function, without the speed.
 *
 * <p>In a federation the driver prunes after the round in which the phase ends: from the server's
 * mean masks and the importances that clients saw in the second half of their updates. Hugging Face
 * has no such method: the file holds the trained tensors and what is kept, and {@code fuse} folds
 * it in.
 */
public final class LightPeft implements PeftMethod<LightPeft.Config> {

  /**
   * Settings.
   *
   * @param estimationSteps steps of the phase, at most half of all
   * @param maskPenalty weight of the masks' absolute sum in the loss
   * @param headRatio share of each layer's heads to prune
   * @param neuronRatio share of all feed-forward neurons to prune
   * @param moduleRatio share of LoRA modules to prune
   * @param rankRatio share of the kept modules' ranks to prune
   */
  public record Config(
      int r,
      double loraAlpha,
      double loraDropout,
      int estimationSteps,
      double maskPenalty,
      double headRatio,
      double neuronRatio,
      double moduleRatio,
      double rankRatio,
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
          .require(r >= 1 && r <= 512, "r", r, "must be 1..512; usual is 8")
          .require(
              loraAlpha > 0 && Double.isFinite(loraAlpha),
              "lora_alpha",
              loraAlpha,
              "must be above 0; usual is r or 2 r")
          .require(
              loraDropout >= 0 && loraDropout < 1, "lora_dropout", loraDropout, "must be in [0, 1)")
          .require(
              estimationSteps >= 1,
              "estimation_steps",
              estimationSteps,
              "must be 1 step or more; usual is 800")
          .require(
              maskPenalty >= 0 && Double.isFinite(maskPenalty),
              "mask_penalty",
              maskPenalty,
              "must be 0 or above; usual is 1e-4");
      Map.of(
              "head_ratio",
              headRatio,
              "neuron_ratio",
              neuronRatio,
              "module_ratio",
              moduleRatio,
              "rank_ratio",
              rankRatio)
          .forEach(
              (name, ratio) ->
                  problems.require(ratio >= 0 && ratio < 1, name, ratio, "must be in [0, 1)"));
      problems.throwIfAny();
    }

    @Override
    public String peftType() {
      return "LIGHT_PEFT";
    }
  }

  @Override
  public String peftType() {
    return "LIGHT_PEFT";
  }

  @Override
  public Class<Config> configType() {
    return Config.class;
  }

  @Override
  public MethodClass methodClass() {
    return MethodClass.HYBRID;
  }

  /** Rank 8 on query and value; a third of heads and neurons, 3/4 of modules, half of the ranks. */
  @Override
  public Config defaults() {
    return new Config(
        8,
        16,
        0,
        800,
        1e-4,
        1 / 3.0,
        1 / 3.0,
        0.75,
        0.5,
        TargetModules.of("query", "value"),
        List.of(),
        List.of(),
        List.of("classifier"));
  }

  @Override
  public Set<String> trainingFields() {
    return Set.of(
        "estimation_steps",
        "mask_penalty",
        "head_ratio",
        "neuron_ratio",
        "module_ratio",
        "rank_ratio");
  }

  @Override
  public AttachedMethod attach(Config config, ModuleTree modules) {
    List<ModuleSpec> adapted =
        TargetSelection.select(
            modules,
            config.targetModules(),
            config.excludeModules(),
            config.layersToTransform(),
            Set.of(ModuleSpec.Kind.LINEAR));
    List<Masked> heads = new ArrayList<>();
    List<Masked> neurons = new ArrayList<>();
    for (LayerPaths layer : modules.structure().layers()) {
      modules
          .find(layer.attentionOutput())
          .ifPresent(
              module -> heads.add(new Masked(module, "head_mask", modules.structure().heads())));
      modules
          .find(layer.output())
          .ifPresent(module -> neurons.add(new Masked(module, "neuron_mask", module.in())));
    }
    if (heads.isEmpty() && neurons.isEmpty()) {
      throw new ConfigException(
          "peft_type",
          "LIGHT_PEFT prunes heads and neurons, and the model's are not known or all trained in"
              + " full; use LORA");
    }
    return new Attached(config, adapted, heads, neurons);
  }

  /**
   * A layer whose input is masked.
   *
   * @param groups number of masks; each acts on as many inputs in a row
   */
  private record Masked(ModuleSpec module, String part, int groups) {
    String mask() {
      return module.path() + "." + part;
    }

    String kept() {
      return mask() + ".kept";
    }

    /** 0 or 1 once pruned, before that 0. */
    String fixed() {
      return mask() + ".fixed";
    }

    int width() {
      return module.in() / groups;
    }
  }

  /** The value that a share {@code q} of values is below, interpolated linearly. */
  static double quantile(float[] values, double q) {
    float[] sorted = values.clone();
    Arrays.sort(sorted);
    double position = q * (sorted.length - 1);
    int below = (int) position;
    int above = Math.min(below + 1, sorted.length - 1);
    return sorted[below] + (position - below) * (sorted[above] - (double) sorted[below]);
  }

  /** 1 for values strictly above the threshold, and for the largest in any case. */
  static int[] above(float[] values, double threshold) {
    int[] kept = new int[values.length];
    int largest = 0;
    for (int i = 0; i < values.length; i++) {
      kept[i] = values[i] > threshold ? 1 : 0;
      largest = values[i] > values[largest] ? i : largest;
    }
    kept[largest] = 1;
    return kept;
  }

  /**
   * {@code |mean_in(A_i * dA_i)| + |mean_out(B_i * dB_i)|} for each rank: means first.
   *
   * @param a {@code [r, in]}
   * @param b {@code [out, r]}
   */
  static float[] rankImportance(float[] a, float[] gradA, float[] b, float[] gradB, int r) {
    int in = a.length / r;
    int out = b.length / r;
    float[] importance = new float[r];
    for (int i = 0; i < r; i++) {
      double sumA = 0;
      for (int j = 0; j < in; j++) {
        sumA += (double) a[i * in + j] * gradA[i * in + j];
      }
      double sumB = 0;
      for (int j = 0; j < out; j++) {
        sumB += (double) b[j * r + i] * gradB[j * r + i];
      }
      importance[i] = (float) (Math.abs(sumA / in) + Math.abs(sumB / out));
    }
    return importance;
  }

  /** 1 while masks are trained. */
  private static final String ESTIMATING = "estimating";

  private record Attached(
      Config config, List<ModuleSpec> adapted, List<Masked> heads, List<Masked> neurons)
      implements AttachedMethod {

    private static String a(ModuleSpec module) {
      return module.path() + ".lora_A.weight";
    }

    private static String b(ModuleSpec module) {
      return module.path() + ".lora_B.weight";
    }

    private static String ranks(ModuleSpec module) {
      return module.path() + ".ranks.kept";
    }

    /** Scale of each kept rank, else 0. */
    private static String gain(ModuleSpec module) {
      return module.path() + ".ranks.gain";
    }

    private static String ratio(ModuleSpec module) {
      return module.path() + ".ratio";
    }

    private List<Masked> masked() {
      List<Masked> all = new ArrayList<>(heads);
      all.addAll(neurons);
      return all;
    }

    private float scale() {
      return (float) (config.loraAlpha() / config.r());
    }

    /** What a module changes is measured over all tokens. */
    @Override
    public boolean isTokenwise() {
      return false;
    }

    @Override
    public Map<String, List<Integer>> shapes() {
      Map<String, List<Integer>> shapes = new LinkedHashMap<>();
      for (ModuleSpec module : adapted) {
        shapes.put(a(module), List.of(config.r(), module.in()));
        shapes.put(b(module), List.of(module.out(), config.r()));
      }
      for (Masked masked : masked()) {
        shapes.put(masked.mask(), List.of(masked.groups()));
      }
      return shapes;
    }

    @Override
    public TensorRole role(String tensor) {
      return tensor.endsWith("_mask") ? TensorRole.LINEAR.undecayed() : TensorRole.FACTOR;
    }

    @Override
    public MethodState initialState(long seed, BaseWeights base) {
      Map<String, int[]> all = new LinkedHashMap<>();
      for (ModuleSpec module : adapted) {
        all.put(ranks(module), ones(config.r()));
      }
      for (Masked masked : masked()) {
        all.put(masked.kept(), ones(masked.groups()));
      }
      all.put(ESTIMATING, new int[] {1});
      return state(all::get);
    }

    private static int[] ones(int size) {
      int[] ones = new int[size];
      Arrays.fill(ones, 1);
      return ones;
    }

    private MethodState state(Function<String, int[]> integers) {
      MethodState.Builder state = new MethodState.Builder();
      int estimating = integers.apply(ESTIMATING)[0];
      for (ModuleSpec module : adapted) {
        int[] kept = integers.apply(ranks(module));
        state
            .integers(ranks(module), List.of(kept.length), kept)
            .floats(gain(module), List.of(kept.length), times(kept, scale()));
      }
      for (Masked masked : masked()) {
        int[] kept = integers.apply(masked.kept());
        state
            .integers(masked.kept(), List.of(kept.length), kept)
            .floats(masked.fixed(), List.of(kept.length), times(kept, 1 - estimating));
      }
      return state
          .integers(ESTIMATING, List.of(1), new int[] {estimating})
          .floats(ESTIMATING + ".on", List.of(1), new float[] {estimating})
          .build();
    }

    private static float[] times(int[] bits, float factor) {
      float[] floats = new float[bits.length];
      for (int i = 0; i < bits.length; i++) {
        floats[i] = factor * bits[i];
      }
      return floats;
    }

    private static boolean isEstimating(MethodState state) {
      return state.integers(ESTIMATING)[0] == 1;
    }

    /** A uniform within 1/sqrt(in), B zero, masks one: the base unchanged. */
    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      Map<String, float[]> values = new LinkedHashMap<>();
      for (ModuleSpec module : adapted) {
        Philox random = Philox.of(seed, "light-peft", Philox.hash(module.path()));
        float bound = (float) (1 / Math.sqrt(module.in()));
        values.put(a(module), random.uniform(config.r() * module.in(), -bound, bound));
        values.put(b(module), new float[config.r() * module.out()]);
      }
      for (Masked masked : masked()) {
        values.put(masked.mask(), times(ones(masked.groups()), 1));
      }
      return values;
    }

    @Override
    public List<Modification> modifications(MethodTensors tensors, TuningContext context) {
      List<Modification> modifications = new ArrayList<>();
      for (ModuleSpec module : adapted) {
        modifications.add(lora(module, tensors, context));
      }
      NDArray sum = null;
      NDArray on = tensors.state(ESTIMATING + ".on");
      for (Masked masked : masked()) {
        NDArray trained = tensors.parameter(masked.mask());
        NDArray mask = trained.mul(on).add(tensors.state(masked.fixed())); // [groups]
        Shape wide = new Shape(masked.groups(), masked.width());
        NDArray scale =
            mask.reshape(new Shape(masked.groups(), 1))
                .broadcast(wide)
                .reshape(new Shape(masked.module().in()));
        modifications.add(Modification.scaledInput(masked.module().path(), scale));
        NDArray size = trained.abs().sum();
        sum = sum == null ? size : sum.add(size);
      }
      if (context.training() && config.maskPenalty() > 0 && sum != null) {
        context.addToLoss(Scalars.times(sum.mul(on).sum(), (float) config.maskPenalty()));
      }
      return modifications;
    }

    private Modification lora(ModuleSpec module, MethodTensors tensors, TuningContext context) {
      NDArray a = tensors.parameter(a(module));
      NDArray b = tensors.parameter(b(module));
      NDArray gain = tensors.state(gain(module));
      Optional<NDArray> probe = context.probe(ratio(module), new Shape(1));
      return new Modification.OnLinear(
          module.path(),
          Insertion.PARALLEL,
          (below, layer, x) -> {
            NDArray plain = below.apply(layer, x);
            NDArray delta = LowRank.delta(dropped(module, x, context), a, gain, b);
            // The derivative by the probe, a zero, is what it is multiplied with.
            probe.ifPresent(
                zero -> context.addToLoss(zero.mul(ratio(delta, plain, context.batch())).sum()));
            return plain.add(delta);
          });
    }

    private NDArray dropped(ModuleSpec module, NDArray x, TuningContext context) {
      if (!context.training() || config.loraDropout() == 0) {
        return x;
      }
      Philox random = context.random().child(Philox.hash(module.path()));
      return Dropout.apply(x, config.loraDropout(), random);
    }

    /** Mean over tokens, padding left out, of {@code |delta| / |plain|}; not differentiated. */
    private static NDArray ratio(NDArray delta, NDArray plain, ModelInput batch) {
      // Where padding has no embedding, as in many decoders, both are zero.
      NDArray ratios = length(delta).div(length(plain).maximum(Float.MIN_NORMAL)); // [batch, seq]
      Shape shape = ratios.getShape();
      boolean tokens =
          shape.dimension() == 2 && shape.get(0) == batch.size() && shape.get(1) == batch.width();
      if (!tokens) {
        return ratios.mean();
      }
      int total = IntStream.range(0, batch.size()).map(batch::length).sum();
      float[] shares = new float[batch.size() * batch.width()];
      for (int row = 0; row < batch.size(); row++) {
        int from = row * batch.width();
        Arrays.fill(shares, from, from + batch.length(row), 1f / total);
      }
      return ratios.mul(ratios.getManager().create(shares, shape)).sum();
    }

    private static NDArray length(NDArray x) {
      return x.stopGradient().square().sum(new int[] {-1}).sqrt();
    }

    /** Steps of the phase. */
    private long phase(long total) {
      return Math.min(config.estimationSteps(), Math.max(1, total / 2));
    }

    /**
     * What is kept for good.
     *
     * @param importances by the names of a report
     */
    private MethodState pruned(
        ParameterLayout layout, float[] parameters, Map<String, float[]> importances) {
      Map<String, int[]> kept = new LinkedHashMap<>();
      for (Masked masked : heads) {
        float[] masks = slice(layout, masked.mask(), parameters);
        kept.put(masked.kept(), above(masks, quantile(masks, config.headRatio())));
      }
      List<float[]> layers =
          neurons.stream().map(masked -> slice(layout, masked.mask(), parameters)).toList();
      if (!layers.isEmpty()) {
        double threshold = quantile(joined(layers), config.neuronRatio());
        for (int i = 0; i < layers.size(); i++) {
          kept.put(neurons.get(i).kept(), above(layers.get(i), threshold));
        }
      }
      List<ModuleSpec> survivors = survivors(importances);
      List<float[]> ranks =
          survivors.stream().map(module -> report(importances, ranks(module))).toList();
      double threshold = quantile(joined(ranks), config.rankRatio());
      for (ModuleSpec module : adapted) {
        int at = survivors.indexOf(module);
        kept.put(ranks(module), at < 0 ? new int[config.r()] : above(ranks.get(at), threshold));
      }
      kept.put(ESTIMATING, new int[1]);
      return state(kept::get);
    }

    private List<ModuleSpec> survivors(Map<String, float[]> importances) {
      float[] ratios = new float[adapted.size()];
      for (int i = 0; i < ratios.length; i++) {
        ratios[i] = report(importances, ratio(adapted.get(i)))[0];
      }
      int[] kept = above(ratios, quantile(ratios, config.moduleRatio()));
      List<ModuleSpec> survivors = new ArrayList<>();
      for (int i = 0; i < kept.length; i++) {
        if (kept[i] == 1) {
          survivors.add(adapted.get(i));
        }
      }
      return survivors;
    }

    private static float[] report(Map<String, float[]> importances, String name) {
      float[] values = importances.get(name);
      if (values == null) {
        throw new IllegalStateException("nobody measured " + name);
      }
      return values;
    }

    private static float[] slice(ParameterLayout layout, String name, float[] parameters) {
      ParameterLayout.Entry entry = layout.entry(name);
      return Arrays.copyOfRange(parameters, entry.offset(), entry.end());
    }

    private static float[] joined(List<float[]> parts) {
      float[] all = new float[parts.stream().mapToInt(part -> part.length).sum()];
      int next = 0;
      for (float[] part : parts) {
        System.arraycopy(part, 0, all, next, part.length);
        next += part.length;
      }
      return all;
    }

    @Override
    public StepObserver observer(MethodState state, TrainingSpan span, ParameterLayout layout) {
      return new Estimating(this, isEstimating(state), span, layout);
    }

    @Override
    public RoundDecision.Output decide(MethodState state, RoundDecision.Input input) {
      long total = Ranking.totalUpdates(input.reports());
      boolean due = total > 0 && Math.round(input.progress() * total) >= phase(total);
      return new RoundDecision.Output(
          due && isEstimating(state)
              ? pruned(input.parameters().layout(), input.parameters().toArray(), input.reports())
              : state,
          input.parameters());
    }

    /** {@code (W + s B A) diag(mask)}. */
    @Override
    public Map<String, float[]> fuse(
        ParameterVector parameters, MethodState state, BaseWeights base) {
      Map<String, float[]> fused = new LinkedHashMap<>();
      for (ModuleSpec module : adapted) {
        float[] weight = base.tensor(module.path() + ".weight").clone();
        LowRank.addProduct(
            weight,
            parameters.tensor(a(module)),
            state.floats(gain(module)),
            parameters.tensor(b(module)));
        fused.put(module.path() + ".weight", weight);
      }
      for (Masked masked : masked()) {
        String name = masked.module().path() + ".weight";
        float[] adapted = fused.get(name);
        float[] weight = adapted != null ? adapted : base.tensor(name).clone();
        float[] mask =
            isEstimating(state) ? parameters.tensor(masked.mask()) : state.floats(masked.fixed());
        int in = masked.module().in();
        for (int i = 0; i < weight.length; i++) {
          weight[i] *= mask[i % in / masked.width()];
        }
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
      Map<String, int[]> integers = StateFiles.takeIntegers(file, initialState(0, base), 1);
      integers.forEach(
          (name, bits) -> {
            if (Arrays.stream(bits).anyMatch(bit -> bit < 0)) {
              throw file.wrong(name + " holds -1; only 0 and 1 mean anything");
            }
          });
      return new Loaded(file.takeAll(shapes()), state(integers::get));
    }
  }

  /** Measures importances; prunes where nobody else does; keeps masks that are fixed. */
  private static final class Estimating implements StepObserver {
    private final Attached attached;
    private final TrainingSpan span;
    private final ParameterLayout layout;
    private final long phase;
    private final Map<String, float[]> sums = new TreeMap<>();
    private final StepFactors factors;
    private boolean estimating;
    private int measured;

    Estimating(Attached attached, boolean estimating, TrainingSpan span, ParameterLayout layout) {
      this.attached = attached;
      this.span = span;
      this.layout = layout;
      this.phase = span.alone() ? attached.phase(span.updates()) : span.updates();
      this.factors = new StepFactors(layout.size());
      this.estimating = estimating;
      if (!estimating) {
        keepMasks();
      }
      for (ModuleSpec module : attached.adapted()) {
        sums.put(Attached.ratio(module), new float[1]);
        sums.put(Attached.ranks(module), new float[attached.config().r()]);
      }
    }

    private void keepMasks() {
      for (Masked masked : attached.masked()) {
        ParameterLayout.Entry entry = layout.entry(masked.mask());
        factors.fill(entry.offset(), entry.end(), 0);
      }
    }

    /** In the second half of the phase. */
    private boolean measures(int update) {
      return estimating && update >= phase / 2 && update < phase;
    }

    @Override
    public boolean wants(String probe, int update) {
      return measures(update) && sums.containsKey(probe);
    }

    @Override
    public void beforeStep(Update update) {
      factors.remember(update.parameters());
      if (!measures(update.update())) {
        return;
      }
      measured++;
      for (ModuleSpec module : attached.adapted()) {
        add(
            Attached.ratio(module),
            update.probes().getOrDefault(Attached.ratio(module), new float[1]));
        add(
            Attached.ranks(module),
            rankImportance(
                Attached.slice(layout, Attached.a(module), update.parameters()),
                Attached.slice(layout, Attached.a(module), update.gradient()),
                Attached.slice(layout, Attached.b(module), update.parameters()),
                Attached.slice(layout, Attached.b(module), update.gradient()),
                attached.config().r()));
      }
    }

    private void add(String name, float[] values) {
      float[] sum = sums.getOrDefault(name, new float[0]);
      for (int i = 0; i < sum.length; i++) {
        sum[i] += Float.isFinite(values[i]) ? values[i] : 0;
      }
    }

    @Override
    public Optional<MethodState> afterStep(Update update) {
      factors.apply(update.parameters());
      if (!estimating || !span.alone() || update.update() < phase - 1) {
        return Optional.empty();
      }
      estimating = false;
      keepMasks();
      return Optional.of(attached.pruned(layout, update.parameters(), sums));
    }

    @Override
    public Map<String, float[]> report() {
      if (span.alone() || measured == 0) {
        return Map.of();
      }
      Map<String, float[]> means = new TreeMap<>();
      List<float[]> ranks = new ArrayList<>();
      sums.forEach(
          (name, sum) -> {
            float[] mean = sum.clone();
            for (int i = 0; i < mean.length; i++) {
              mean[i] /= measured;
            }
            means.put(name, mean);
            if (!name.endsWith(".ratio")) {
              ranks.add(mean);
            }
          });
      Ranking.normalise(ranks);
      means.put(Ranking.TOTAL_UPDATES, new float[] {span.totalUpdates()});
      return means;
    }
  }
}
