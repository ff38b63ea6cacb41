package org.sparkpeft.core.peft.allocation;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.index.NDIndex;
import ai.djl.ndarray.types.Shape;
import ai.djl.nn.Activation;
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
 * SPT, sensitivity-aware tuning (He et al. 2023, arXiv 2303.08566): {@code y = (W + D) x + b + d +
 * B A x}, where of each matrix either single entries are trained ({@code D}, sparse) or a LoRA
 * without scaling ({@code A [r, in]}, {@code B [out, r]}); with {@code structured_type} adapter, in
 * place of the latter a bottleneck on the output, {@code h + U relu(V h + v) + u}. Which, and which
 * entries of biases, follows from {@code g = sum of squared batch gradients} at the untouched
 * start: see {@link Sensitivity}. Biases belong to their matrices; norms are left alone.
 *
 * <p>Alone, the first {@code sensitivity_batches} updates (at most half of all) only measure and
 * change nothing. In a federation the first round measures: every client reports the mean of g over
 * its batches, dense, as many floats as the target modules have weights; weighted by examples these
 * add up to a multiple of the g of all batches together, if batches are of one size. Then the
 * allocation is fixed, so sparse entries average exactly. Hugging Face has no such method: the file
 * holds the trained tensors and the positions, and {@code fuse} folds it in (adapters not).
 */
public final class Spt implements PeftMethod<Spt.Config> {

  /**
   * Settings.
   *
   * @param r rank or bottleneck of structured modules
   * @param structuredType {@code lora} or {@code adapter}
   * @param budget parameters to train, the head not counted
   * @param structuredRatio a matrix is structured when its sensitive entries number at least the
   *     module's parameters divided by this
   * @param vectorRatio a bias is trained in full when its sensitive entries number at least its
   *     size divided by this
   * @param sensitivityBatches updates that measure
   * @param dropout probability of dropping an entry of a structured module's input
   */
  public record Config(
      int r,
      String structuredType,
      int budget,
      double structuredRatio,
      double vectorRatio,
      int sensitivityBatches,
      double dropout,
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
          .require(r >= 1 && r <= 512, "r", r, "must be 1..512; usual is 8")
          .require(
              List.of("lora", "adapter").contains(structuredType),
              "structured_type",
              structuredType,
              "must be lora or adapter")
          .require(budget >= 1, "budget", budget, "must be 1 parameter or more; usual is 100000")
          .require(
              structuredRatio >= 1 && Double.isFinite(structuredRatio),
              "structured_ratio",
              structuredRatio,
              "must be 1 or above; usual is 10")
          .require(
              vectorRatio >= 1 && Double.isFinite(vectorRatio),
              "vector_ratio",
              vectorRatio,
              "must be 1 or above; usual is 5")
          .require(
              sensitivityBatches >= 1,
              "sensitivity_batches",
              sensitivityBatches,
              "must be 1 or more; usual is 16")
          .require(dropout >= 0 && dropout < 1, "dropout", dropout, "must be in [0, 1)")
          .throwIfAny();
    }

    @Override
    public String peftType() {
      return "SPT";
    }
  }

  @Override
  public String peftType() {
    return "SPT";
  }

  @Override
  public Class<Config> configType() {
    return Config.class;
  }

  @Override
  public MethodClass methodClass() {
    return MethodClass.HYBRID;
  }

  /** 100 000 parameters among query and value, LoRA of rank 8 where structured. */
  @Override
  public Config defaults() {
    return new Config(
        8,
        "lora",
        100_000,
        10,
        5,
        16,
        0.1,
        TargetModules.of("query", "value"),
        List.of(),
        List.of(),
        List.of("classifier"));
  }

  @Override
  public Set<String> trainingFields() {
    return Set.of("budget", "sensitivity_batches", "vector_ratio");
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
            .map(module -> new Site(module, structured(config, module), capacity(config, module)))
            .toList());
  }

  /** Parameters of a structured module. */
  static int structured(Config config, ModuleSpec module) {
    return config.structuredType().equals("lora")
        ? config.r() * (module.in() + module.out())
        : config.r() * 2 * module.out() + config.r() + module.out();
  }

  /** Most entries that a matrix can have without being structured; at least 1. */
  static int capacity(Config config, ModuleSpec module) {
    int most = (int) Math.ceil(structured(config, module) / config.structuredRatio()) - 1;
    return Math.max(1, Math.min(most, module.in() * module.out()));
  }

  private record Site(ModuleSpec module, int structured, int capacity) {
    String name(String part) {
      return module.path() + "." + part;
    }

    int size() {
      return module.in() * module.out();
    }
  }

  /** Name parts of trained tensors and of the state. */
  private static final String DELTA = "spt_delta";

  private static final String BIAS = "spt_bias";
  private static final String LORA_A = "lora_A.weight";
  private static final String LORA_B = "lora_B.weight";
  private static final String DOWN = "adapter_down.weight";
  private static final String DOWN_BIAS = "adapter_down.bias";
  private static final String UP = "adapter_up.weight";
  private static final String UP_BIAS = "adapter_up.bias";
  private static final String INDICES = "spt_indices";
  private static final String BIAS_MASK = "spt_bias_mask";
  private static final String STRUCTURED = "spt_structured";
  private static final String ALLOCATED = "allocated";

  private record Attached(Config config, List<Site> sites) implements AttachedMethod {

    private boolean isLora() {
      return config.structuredType().equals("lora");
    }

    @Override
    public Map<String, List<Integer>> shapes() {
      Map<String, List<Integer>> shapes = new LinkedHashMap<>();
      for (Site site : sites) {
        int out = site.module().out();
        shapes.put(site.name(DELTA), List.of(site.capacity()));
        if (site.module().bias()) {
          shapes.put(site.name(BIAS), List.of(out));
        }
        if (isLora()) {
          shapes.put(site.name(LORA_A), List.of(config.r(), site.module().in()));
          shapes.put(site.name(LORA_B), List.of(out, config.r()));
        } else {
          shapes.put(site.name(DOWN), List.of(config.r(), out));
          shapes.put(site.name(DOWN_BIAS), List.of(config.r()));
          shapes.put(site.name(UP), List.of(out, config.r()));
          shapes.put(site.name(UP_BIAS), List.of(out));
        }
      }
      return shapes;
    }

    @Override
    public TensorRole role(String tensor) {
      boolean linear = tensor.endsWith(DELTA) || tensor.endsWith(BIAS);
      return linear ? TensorRole.LINEAR : TensorRole.FACTOR;
    }

    /** Nothing is trained before the sensitivity is known. */
    @Override
    public MethodState initialState(long seed, BaseWeights base) {
      Map<String, int[]> none = new LinkedHashMap<>();
      for (Site site : sites) {
        int[] unused = new int[site.capacity()];
        Arrays.fill(unused, site.size());
        none.put(site.name(INDICES), unused);
        none.put(site.name(BIAS_MASK), new int[site.module().out()]);
        none.put(site.name(STRUCTURED), new int[1]);
      }
      none.put(ALLOCATED, new int[1]);
      return state(none::get);
    }

    /** With what follows from the integers: masks as floats. An unused index is the size. */
    private MethodState state(Function<String, int[]> integers) {
      MethodState.Builder state = new MethodState.Builder();
      for (Site site : sites) {
        int[] indices = integers.apply(site.name(INDICES));
        int[] bias = integers.apply(site.name(BIAS_MASK));
        int[] structured = integers.apply(site.name(STRUCTURED));
        int[] used = Arrays.stream(indices).map(i -> i < site.size() ? 1 : 0).toArray();
        state
            .integers(site.name(INDICES), List.of(indices.length), indices)
            .integers(site.name(BIAS_MASK), List.of(bias.length), bias)
            .integers(site.name(STRUCTURED), List.of(1), structured)
            .floats(on(site, INDICES), List.of(used.length), floats(used))
            .floats(on(site, BIAS_MASK), List.of(bias.length), floats(bias))
            .floats(on(site, STRUCTURED), List.of(1), floats(structured));
      }
      return state.integers(ALLOCATED, List.of(1), integers.apply(ALLOCATED)).build();
    }

    /** The float mask beside an integer tensor of the state. */
    private static String on(Site site, String part) {
      return site.name(part) + ".on";
    }

    private static float[] floats(int[] bits) {
      float[] floats = new float[bits.length];
      for (int i = 0; i < bits.length; i++) {
        floats[i] = bits[i];
      }
      return floats;
    }

    private static boolean isAllocated(MethodState state) {
      return state.integers(ALLOCATED)[0] == 1;
    }

    /** A and V uniform within 1/sqrt(fan-in), the rest zero: the base unchanged. */
    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      Map<String, float[]> values = new LinkedHashMap<>();
      shapes()
          .forEach(
              (name, shape) -> {
                int size = shape.stream().reduce(1, (a, b) -> a * b);
                boolean random = name.endsWith(LORA_A) || name.endsWith(DOWN);
                float bound = random ? (float) (1 / Math.sqrt(shape.get(1))) : 0;
                values.put(
                    name,
                    random
                        ? Philox.of(seed, "spt", Philox.hash(name)).uniform(size, -bound, bound)
                        : new float[size]);
              });
      return values;
    }

    @Override
    public List<Modification> modifications(MethodTensors tensors, TuningContext context) {
      List<Modification> modifications = new ArrayList<>();
      for (Site site : sites) {
        modifications.add(
            new Modification.OnLinear(
                site.module().path(),
                Insertion.WEIGHT,
                (below, layer, x) -> below.apply(changed(site, layer, tensors, context), x)));
        modifications.add(
            isLora() ? lora(site, tensors, context) : adapter(site, tensors, context));
      }
      return modifications;
    }

    private Linear changed(Site site, Linear layer, MethodTensors tensors, TuningContext context) {
      Shape shape = new Shape(site.module().out(), site.module().in());
      NDArray entries = tensors.parameter(site.name(DELTA)).mul(tensors.state(on(site, INDICES)));
      NDManager manager = entries.getManager();
      NDArray delta =
          manager
              .zeros(new Shape(site.size() + 1)) // the last takes what is unused
              .scatter(tensors.state(site.name(INDICES)), entries, 0)
              .get(new NDIndex(":" + site.size()))
              .reshape(shape);
      NDArray weight =
          context
              .probe(site.name("weight"), shape)
              .map(delta::add)
              .orElse(delta)
              .add(layer.weight().full(manager));
      NDArray bias = layer.bias();
      if (bias != null && site.module().bias()) {
        NDArray shift = tensors.parameter(site.name(BIAS)).mul(tensors.state(on(site, BIAS_MASK)));
        bias =
            context
                .probe(site.name("bias"), new Shape(site.module().out()))
                .map(shift::add)
                .orElse(shift)
                .add(bias);
      }
      return new Linear(layer.path(), weight, bias);
    }

    private Modification lora(Site site, MethodTensors tensors, TuningContext context) {
      NDArray a = tensors.parameter(site.name(LORA_A));
      NDArray b = tensors.parameter(site.name(LORA_B));
      NDArray on = tensors.state(on(site, STRUCTURED));
      return Modification.parallel(
          site.module().path(), x -> LowRank.delta(dropped(site, x, context), a, on, b));
    }

    private Modification adapter(Site site, MethodTensors tensors, TuningContext context) {
      NDArray down = tensors.parameter(site.name(DOWN));
      NDArray downBias = tensors.parameter(site.name(DOWN_BIAS));
      NDArray up = tensors.parameter(site.name(UP));
      NDArray upBias = tensors.parameter(site.name(UP_BIAS));
      NDArray on = tensors.state(on(site, STRUCTURED));
      return Modification.sequential(
          site.module().path(),
          h -> {
            NDArray inner = Activation.relu(Linear.of(dropped(site, h, context), down, downBias));
            return h.add(Linear.of(inner, up, upBias).mul(on));
          });
    }

    private NDArray dropped(Site site, NDArray x, TuningContext context) {
      if (!context.training() || config.dropout() == 0) {
        return x;
      }
      Philox random = context.random().child(Philox.hash(site.module().path()));
      return Dropout.apply(x, config.dropout(), random);
    }

    @Override
    public StepObserver observer(MethodState state, TrainingSpan span, ParameterLayout layout) {
      return isAllocated(state) ? StepObserver.NONE : new Measuring(this, span, layout);
    }

    /** Chooses from the sensitivities of {@code path.weight} and {@code path.bias}. */
    private MethodState allocated(Map<String, float[]> scores) {
      List<Sensitivity.Tensor> tensors = new ArrayList<>();
      for (Site site : sites) {
        float[] weight = scores.getOrDefault(site.name("weight"), new float[0]);
        float[] bias = scores.getOrDefault(site.name("bias"), new float[0]);
        tensors.add(new Sensitivity.Tensor(weight, site.structured(), config.structuredRatio()));
        tensors.add(new Sensitivity.Tensor(bias, site.module().out(), config.vectorRatio()));
      }
      List<Sensitivity.Share> shares = new Sensitivity(tensors).within(config.budget());
      Map<String, int[]> chosen = new LinkedHashMap<>();
      for (int s = 0; s < sites.size(); s++) {
        Site site = sites.get(s);
        Sensitivity.Share weight = shares.get(2 * s);
        Sensitivity.Share bias = shares.get(2 * s + 1);
        int[] indices = new int[site.capacity()];
        Arrays.fill(indices, site.size());
        System.arraycopy(weight.entries(), 0, indices, 0, weight.entries().length);
        int[] mask = new int[site.module().out()];
        Arrays.fill(mask, bias.whole() ? 1 : 0);
        for (int i : bias.entries()) {
          mask[i] = 1;
        }
        chosen.put(site.name(INDICES), indices);
        chosen.put(site.name(BIAS_MASK), mask);
        chosen.put(site.name(STRUCTURED), new int[] {weight.whole() ? 1 : 0});
      }
      chosen.put(ALLOCATED, new int[] {1});
      return state(chosen::get);
    }

    @Override
    public RoundDecision.Output decide(MethodState state, RoundDecision.Input input) {
      boolean measured =
          sites.stream().allMatch(site -> input.reports().containsKey(site.name("weight")));
      return new RoundDecision.Output(
          measured && !isAllocated(state) ? allocated(input.reports()) : state, input.parameters());
    }

    @Override
    public Optional<String> whyNotFused() {
      return isLora()
          ? Optional.empty()
          : Optional.of("SPT with structured_type adapter puts a ReLU behind a layer");
    }

    @Override
    public Map<String, float[]> fuse(
        ParameterVector parameters, MethodState state, BaseWeights base) {
      if (!isLora()) {
        throw new IllegalStateException(whyNotFused().orElse(""));
      }
      Map<String, float[]> fused = new LinkedHashMap<>();
      for (Site site : sites) {
        float[] weight = base.tensor(site.name("weight")).clone();
        float[] delta = parameters.tensor(site.name(DELTA));
        int[] indices = state.integers(site.name(INDICES));
        for (int i = 0; i < indices.length; i++) {
          if (indices[i] < weight.length) {
            weight[indices[i]] += delta[i];
          }
        }
        float[] e = new float[config.r()];
        Arrays.fill(e, state.integers(site.name(STRUCTURED))[0]);
        LowRank.addProduct(
            weight, parameters.tensor(site.name(LORA_A)), e, parameters.tensor(site.name(LORA_B)));
        fused.put(site.name("weight"), weight);
        if (site.module().bias()) {
          float[] bias = base.tensor(site.name("bias")).clone();
          float[] shift = parameters.tensor(site.name(BIAS));
          int[] mask = state.integers(site.name(BIAS_MASK));
          for (int i = 0; i < bias.length; i++) {
            bias[i] += mask[i] * shift[i];
          }
          fused.put(site.name("bias"), bias);
        }
      }
      return fused;
    }

    @Override
    public SortedMap<String, TensorData> save(ParameterVector parameters, MethodState state) {
      return StateFiles.save(shapes(), parameters, state);
    }

    @Override
    public Loaded load(AdapterTensors file, BaseWeights base) {
      int largest = sites.stream().mapToInt(Site::size).max().orElse(0);
      Map<String, int[]> integers = StateFiles.takeIntegers(file, initialState(0, base), largest);
      for (Site site : sites) {
        requireWithin(file, integers, site.name(INDICES), site.size());
        requireWithin(file, integers, site.name(BIAS_MASK), 1);
        requireWithin(file, integers, site.name(STRUCTURED), 1);
      }
      requireWithin(file, integers, ALLOCATED, 1);
      return new Loaded(file.takeAll(shapes()), state(integers::get));
    }

    private static void requireWithin(
        AdapterTensors file, Map<String, int[]> integers, String name, int limit) {
      for (int value : integers.getOrDefault(name, new int[0])) {
        if (value < 0 || value > limit) {
          throw file.wrong(name + " holds " + value + "; only 0.." + limit + " mean anything");
        }
      }
    }
  }

  /** Sums squared gradients and keeps everything as it is. */
  private static final class Measuring implements StepObserver {
    private final Attached attached;
    private final TrainingSpan span;
    private final int batches;
    private final StepFactors factors;
    private final Map<String, float[]> sums = new TreeMap<>();
    private int measured;
    private boolean done;

    Measuring(Attached attached, TrainingSpan span, ParameterLayout layout) {
      this.attached = attached;
      this.span = span;
      int most = span.alone() ? Math.max(1, span.updates() / 2) : span.updates();
      this.batches = Math.min(attached.config().sensitivityBatches(), most);
      this.factors = new StepFactors(layout.size());
      factors.fill(0, layout.size(), 0);
      for (Site site : attached.sites()) {
        sums.put(site.name("weight"), new float[site.size()]);
        if (site.module().bias()) {
          sums.put(site.name("bias"), new float[site.module().out()]);
        }
      }
    }

    @Override
    public boolean wants(String probe, int update) {
      return update < batches && sums.containsKey(probe);
    }

    @Override
    public void beforeStep(Update update) {
      if (done) {
        return;
      }
      if (update.update() < batches) {
        update
            .probes()
            .forEach(
                (name, gradient) -> {
                  float[] sum = sums.get(name);
                  if (sum != null) {
                    for (int i = 0; i < sum.length; i++) {
                      sum[i] += gradient[i] * gradient[i];
                    }
                  }
                });
        measured++;
      }
      Arrays.fill(update.gradient(), 0);
      factors.remember(update.parameters());
    }

    @Override
    public Optional<MethodState> afterStep(Update update) {
      if (done) {
        return Optional.empty();
      }
      factors.apply(update.parameters());
      if (!span.alone() || measured < batches) {
        return Optional.empty();
      }
      done = true;
      for (int i = 0; i < update.parameters().length; i++) {
        update.moments().restart(i, 0, 0, 0);
      }
      return Optional.of(attached.allocated(sums));
    }

    @Override
    public Map<String, float[]> report() {
      if (span.alone() || measured == 0) {
        return Map.of();
      }
      Map<String, float[]> means = new TreeMap<>();
      sums.forEach(
          (name, sum) -> {
            float[] mean = sum.clone();
            for (int i = 0; i < mean.length; i++) {
              mean[i] /= measured;
            }
            means.put(name, mean);
          });
      return means;
    }
  }
}
