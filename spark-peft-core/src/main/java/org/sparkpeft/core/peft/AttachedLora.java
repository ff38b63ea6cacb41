package org.sparkpeft.core.peft;

import ai.djl.ndarray.NDArray;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * LoRA on a model. Its state holds A where that is frozen, and the factors that the adapter started
 * as where those are taken from the base weight.
 *
 * @param biases modules other than the adapted ones whose bias is trained
 */
record AttachedLora(LoraConfig config, List<LoraSite> sites, List<ModuleSpec> biases)
    implements AttachedMethod {

  AttachedLora {
    sites = List.copyOf(sites);
    biases = List.copyOf(biases);
  }

  @Override
  public boolean startsAsBase() {
    return !config.initLoraWeights().equals("false");
  }

  private boolean trainsBias(LoraSite site) {
    return !config.bias().equals("none") && site.module().bias();
  }

  private boolean replacesBase(LoraSite site) {
    return config.startsFromBase() && !site.isEmbedding();
  }

  private boolean frozen(String name) {
    return config.freezeA() && name.endsWith(".lora_A.weight");
  }

  @Override
  public Map<String, List<Integer>> shapes() {
    Map<String, List<Integer>> shapes = new LinkedHashMap<>();
    for (LoraSite site : sites) {
      site.factors()
          .forEach(
              (name, shape) -> {
                if (!frozen(name)) {
                  shapes.put(name, shape);
                }
              });
      if (config.loraBias()) {
        shapes.put(site.nameBiasOfB(), List.of(site.out()));
      }
      if (config.useDora()) {
        shapes.put(site.nameMagnitude(), List.of(site.out()));
      }
      if (trainsBias(site)) {
        shapes.put(site.nameBaseBias(), List.of(site.out()));
      }
    }
    biases.forEach(module -> shapes.put(module.path() + ".bias", List.of(module.out())));
    return shapes;
  }

  /** Factors learn at the common rate; with LoRA+, B and vectors faster. */
  @Override
  public TensorRole role(String tensor) {
    boolean vector = !tensor.contains(".lora_A") && !tensor.contains(".lora_embedding");
    boolean bias = tensor.endsWith(".bias");
    boolean exact =
        bias || (config.freezeA() && tensor.endsWith(".lora_B.weight") && !config.useDora());
    TensorRole role = exact ? TensorRole.LINEAR : TensorRole.FACTOR;
    return vector ? faster(role, bias) : role;
  }

  @Override
  public TensorRole savedRole(String tensor) {
    boolean bias = tensor.endsWith(".bias");
    return bias || tensor.endsWith("LayerNorm.weight")
        ? faster(TensorRole.LINEAR, true)
        : TensorRole.LINEAR;
  }

  private TensorRole faster(TensorRole role, boolean undecayed) {
    if (config.loraplusLrRatio() == 1) {
      return role;
    }
    TensorRole faster = role.withRate(config.loraplusLrRatio());
    return undecayed ? faster.undecayed() : faster;
  }

  @Override
  public MethodState initialState(long seed, BaseWeights base) {
    MethodState.Builder state = new MethodState.Builder();
    addStart(state, base);
    for (LoraSite site : sites) {
      if (frozen(site.nameA()) && !replacesBase(site)) {
        float[] a = LoraInit.random(site, config.initLoraWeights(), seed).a();
        state.floats(site.nameA(), site.shapeA(), a);
      }
    }
    MethodState made = state.build();
    for (LoraSite site : sites) {
      if (frozen(site.nameA()) && replacesBase(site)) {
        state.floats(site.nameA(), site.shapeA(), made.floats(site.nameStartA()));
      }
    }
    return state.build();
  }

  private void addStart(MethodState.Builder state, BaseWeights base) {
    Map<LoraSite, float[]> weights = new LinkedHashMap<>();
    for (LoraSite site : sites) {
      if (replacesBase(site)) {
        weights.put(site, base.tensor(site.path() + ".weight"));
      }
    }
    List<LoraSite> order = List.copyOf(weights.keySet());
    List<LoraInit.Factors> factors =
        order.parallelStream()
            .map(
                site ->
                    LoraInit.fromBase(
                        site,
                        config.initLoraWeights(),
                        java.util.Objects.requireNonNull(weights.get(site))))
            .toList();
    for (int i = 0; i < order.size(); i++) {
      LoraSite site = order.get(i);
      state.floats(site.nameStartA(), site.shapeA(), factors.get(i).a());
      state.floats(site.nameStartB(), site.shapeB(), negative(factors.get(i).b()));
    }
  }

  private static float[] negative(float[] values) {
    float[] negative = new float[values.length];
    for (int i = 0; i < values.length; i++) {
      negative[i] = -values[i];
    }
    return negative;
  }

  @Override
  public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
    Map<String, float[]> values = new LinkedHashMap<>();
    for (LoraSite site : sites) {
      LoraInit.Factors factors =
          replacesBase(site)
              ? new LoraInit.Factors(
                  state.floats(site.nameStartA()), negative(state.floats(site.nameStartB())))
              : LoraInit.random(site, config.initLoraWeights(), seed);
      if (!frozen(site.nameA())) {
        values.put(site.nameA(), factors.a());
      }
      values.put(site.nameB(), factors.b());
      if (config.loraBias()) {
        values.put(site.nameBiasOfB(), new float[site.out()]);
      }
      if (config.useDora()) {
        float[] weight = base.tensor(site.path() + ".weight");
        if (!replacesBase(site)) {
          site.addProduct(weight, factors.a(), factors.b());
        }
        values.put(site.nameMagnitude(), site.norms(weight));
      }
      if (trainsBias(site)) {
        values.put(site.nameBaseBias(), base.tensor(site.path() + ".bias"));
      }
    }
    for (ModuleSpec module : biases) {
      values.put(module.path() + ".bias", base.tensor(module.path() + ".bias"));
    }
    return values;
  }

  @Override
  public List<Modification> modifications(MethodTensors tensors, TuningContext context) {
    List<Modification> modifications = new ArrayList<>();
    for (LoraSite site : sites) {
      LoraForward forward = forward(site, tensors, context);
      modifications.add(
          site.isEmbedding()
              ? new Modification.OnEmbedding(site.path(), Insertion.PARALLEL, forward::embedding)
              : new Modification.OnLinear(site.path(), Insertion.PARALLEL, forward::linear));
    }
    for (ModuleSpec module : biases) {
      modifications.add(bias(module, tensors.parameter(module.path() + ".bias")));
    }
    return modifications;
  }

  @Override
  public Optional<String> whyOneByOne() {
    if (config.loraDropout() > 0) {
      return Optional.of("lora_dropout is " + config.loraDropout() + ", not 0");
    }
    if (config.useDora()) {
      return Optional.of("use_dora has no form for several clients at once");
    }
    if (config.loraBias() || !config.bias().equals("none")) {
      return Optional.of("biases are trained (bias, lora_bias)");
    }
    return sites.stream().anyMatch(LoraSite::isEmbedding)
        ? Optional.of("target_modules has an embedding")
        : Optional.empty();
  }

  @Override
  public List<Modification> modificationsByClient(
      MethodTensors tensors, ClientRows rows, TuningContext context) {
    List<Modification> modifications = new ArrayList<>();
    for (LoraSite site : sites) {
      LoraByClient forward =
          new LoraByClient(
              site,
              rows,
              frozen(site.nameA()) ? tensors.state(site.nameA()) : tensors.parameter(site.nameA()),
              tensors.parameter(site.nameB()),
              replacesBase(site) ? tensors.state(site.nameStartA()) : null,
              replacesBase(site) ? tensors.state(site.nameStartB()) : null);
      modifications.add(
          new Modification.OnLinear(site.path(), Insertion.PARALLEL, forward::linear));
    }
    return modifications;
  }

  private LoraForward forward(LoraSite site, MethodTensors tensors, TuningContext context) {
    boolean drops = context.training() && config.loraDropout() > 0 && !site.isEmbedding();
    Philox random = context.random().child(Philox.hash(site.path()));
    return new LoraForward(
        site,
        frozen(site.nameA()) ? tensors.state(site.nameA()) : tensors.parameter(site.nameA()),
        tensors.parameter(site.nameB()),
        config.loraBias() ? tensors.parameter(site.nameBiasOfB()) : null,
        config.useDora() ? tensors.parameter(site.nameMagnitude()) : null,
        trainsBias(site) ? tensors.parameter(site.nameBaseBias()) : null,
        replacesBase(site) ? tensors.state(site.nameStartA()) : null,
        replacesBase(site) ? tensors.state(site.nameStartB()) : null,
        drops ? x -> Dropout.apply(x, config.loraDropout(), random) : null);
  }

  private static Modification bias(ModuleSpec module, NDArray bias) {
    return module.kind() == ModuleSpec.Kind.LAYER_NORM
        ? new Modification.OnNorm(
            module.path(),
            Insertion.WEIGHT,
            (below, layer, x) -> below.apply(layer.with(layer.weight(), bias), x))
        : new Modification.OnLinear(
            module.path(),
            Insertion.WEIGHT,
            (below, layer, x) -> below.apply(layer.withBias(bias), x));
  }

  private float[] factorA(LoraSite site, ParameterVector parameters, MethodState state) {
    return frozen(site.nameA()) ? state.floats(site.nameA()) : parameters.tensor(site.nameA());
  }

  /** {@code W + s B A}, scaled by rows with DoRA; for an embedding {@code E + s (B A)t}. */
  @Override
  public Map<String, float[]> fuse(
      ParameterVector parameters, MethodState state, BaseWeights base) {
    Map<String, float[]> fused = new LinkedHashMap<>();
    for (LoraSite site : sites) {
      float[] weight = base.tensor(site.path() + ".weight").clone();
      if (replacesBase(site)) {
        site.addProduct(weight, state.floats(site.nameStartA()), state.floats(site.nameStartB()));
      }
      site.addProduct(weight, factorA(site, parameters, state), parameters.tensor(site.nameB()));
      if (config.useDora()) {
        scaleOutputs(site, weight, parameters.tensor(site.nameMagnitude()));
      }
      fused.put(site.path() + ".weight", weight);
      fuseBias(site, parameters, base).ifPresent(b -> fused.put(site.path() + ".bias", b));
    }
    for (ModuleSpec module : biases) {
      fused.put(module.path() + ".bias", parameters.tensor(module.path() + ".bias"));
    }
    return fused;
  }

  private static void scaleOutputs(LoraSite site, float[] weight, float[] magnitude) {
    float[] norms = site.norms(weight);
    for (int o = 0; o < site.out(); o++) {
      float factor = magnitude[o] / norms[o];
      for (int i = 0; i < site.in(); i++) {
        weight[site.isEmbedding() ? i * site.out() + o : o * site.in() + i] *= factor;
      }
    }
  }

  private Optional<float[]> fuseBias(LoraSite site, ParameterVector parameters, BaseWeights base) {
    if (!trainsBias(site) && !config.loraBias()) {
      return Optional.empty();
    }
    float[] bias =
        trainsBias(site)
            ? parameters.tensor(site.nameBaseBias())
            : base.tensor(site.path() + ".bias").clone();
    if (config.loraBias()) {
      float[] more = parameters.tensor(site.nameBiasOfB());
      for (int o = 0; o < bias.length; o++) {
        bias[o] += site.scale() * more[o];
      }
    }
    return Optional.of(bias);
  }

  /** With A where it is frozen, so that the file is any LoRA's. */
  @Override
  public SortedMap<String, TensorData> save(ParameterVector parameters, MethodState state) {
    SortedMap<String, TensorData> file =
        new TreeMap<>(AttachedMethod.super.save(parameters, state));
    for (LoraSite site : sites) {
      if (frozen(site.nameA())) {
        String full = AdapterTensors.PREFIX + site.nameA();
        file.put(full, state.tensor(site.nameA()).withName(full));
      }
    }
    return TensorData.byName(file.values());
  }

  /** The factors that the adapter started as are computed from the base again. */
  @Override
  public Loaded load(AdapterTensors file, BaseWeights base) {
    MethodState.Builder state = new MethodState.Builder();
    addStart(state, base);
    for (LoraSite site : sites) {
      if (frozen(site.nameA())) {
        TensorData a = file.take(AdapterTensors.PREFIX + site.nameA(), site.shapeA());
        state.floats(site.nameA(), site.shapeA(), a.toFloats());
      }
    }
    return new Loaded(file.takeAll(shapes()), state.build());
  }

  @Override
  public Optional<AsLora> asLora(ParameterVector parameters, MethodState state) {
    SortedMap<String, TensorData> file = save(parameters, state);
    return Optional.of(
        config.startsFromBase()
            ? LoraConversion.onWholeBase(this, file, state)
            : new AsLora(config, file));
  }
}
