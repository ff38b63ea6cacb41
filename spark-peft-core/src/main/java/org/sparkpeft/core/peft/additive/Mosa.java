package org.sparkpeft.core.peft.additive;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.types.DataType;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.core.engine.Scalars;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.nn.Activation;
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
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * Mixture of sparse adapters (Zhang et al. 2023, arXiv 2312.02923): one parallel adapter {@code s
 * A(x)} on every feed-forward block, whose weights are split at random among E experts. A training
 * step uses one expert for each weight: its own entries as trained, all others at their start, so
 * only its own get a gradient. As experts are disjoint, one tensor W holds them all. Outside
 * training the experts are merged: {@code sum} takes W, every expert's whole change; {@code add}
 * takes {@code W_0 + (W - W_0) / E}, the authors' mean. Clients average W; an expert's entries move
 * only in the steps that used it. The authors' second pass with a divergence between both passes is
 * left out: a step here runs the model once.
 */
public final class Mosa implements PeftMethod<Mosa.Config> {

  /**
   * Settings.
   *
   * @param numExperts E, 2..64
   * @param bottleneckSize hidden units of an adapter, 1..65536
   * @param nonLinearity name of the function between an adapter's layers
   * @param scaling factor s on an adapter's output
   * @param adapterDropout probability in [0, 1) of dropping a hidden unit in training
   * @param shareDown keep the first layer whole, split the second only
   * @param mergeExperts {@code sum} or {@code add}
   * @param modulesToSave modules trained and saved in full
   */
  public record Config(
      int numExperts,
      int bottleneckSize,
      String nonLinearity,
      double scaling,
      double adapterDropout,
      boolean shareDown,
      String mergeExperts,
      List<String> modulesToSave)
      implements PeftConfig {

    public Config {
      modulesToSave = List.copyOf(modulesToSave);
      new Problems()
          .require(numExperts >= 2 && numExperts <= 64, "num_experts", numExperts, "must be 2..64")
          .require(
              bottleneckSize >= 1 && bottleneckSize <= 65536,
              "bottleneck_size",
              bottleneckSize,
              "must be 1..65536")
          .require(
              Activation.named(nonLinearity).isPresent(),
              "non_linearity",
              nonLinearity,
              "must be one of " + Activation.names())
          .require(
              Double.isFinite(scaling) && scaling != 0,
              "scaling",
              scaling,
              "must be a number but 0")
          .require(
              adapterDropout >= 0 && adapterDropout < 1,
              "adapter_dropout",
              adapterDropout,
              "must be in [0, 1)")
          .require(
              List.of("sum", "add").contains(mergeExperts),
              "merge_experts",
              mergeExperts,
              "must be sum or add")
          .throwIfAny();
    }

    @Override
    public String peftType() {
      return "MOSA";
    }
  }

  @Override
  public String peftType() {
    return "MOSA";
  }

  @Override
  public Class<Config> configType() {
    return Config.class;
  }

  @Override
  public MethodClass methodClass() {
    return MethodClass.HYBRID;
  }

  @Override
  public double usualRate() {
    return 0.3;
  }

  @Override
  public Config defaults() {
    return new Config(4, 16, "gelu", 0.1, 0.1, false, "sum", List.of("classifier"));
  }

  @Override
  public AttachedMethod attach(Config config, ModuleTree modules) {
    ModuleTree.Structure structure = VirtualTokens.structure(modules, peftType());
    return new Attached(
        config,
        structure.layers().stream()
            .map(l -> new Bottleneck(l.output(), structure.hidden(), config.bottleneckSize()))
            .toList());
  }

  private record Attached(Config config, List<Bottleneck> sites) implements AttachedMethod {
    private static final String OWNER = ".mosa_owner";
    private static final String START = ".mosa_start";

    @Override
    public Map<String, List<Integer>> shapes() {
      Map<String, List<Integer>> shapes = new LinkedHashMap<>();
      sites.forEach(site -> shapes.putAll(site.shapes()));
      return shapes;
    }

    /** Weights that are split; biases belong to every expert. */
    private List<String> split(Bottleneck site) {
      return config.shareDown() ? List.of(site.up()) : List.of(site.down(), site.up());
    }

    /** For each split weight the expert of each entry, as many each as can be, and its start. */
    @Override
    public MethodState initialState(long seed, BaseWeights base) {
      MethodState.Builder state = new MethodState.Builder();
      for (Bottleneck site : sites) {
        Map<String, float[]> start = site.initialValues(seed, "lora");
        for (String name : split(site)) {
          List<Integer> shape = Objects.requireNonNull(site.shapes().get(name));
          float[] values = Objects.requireNonNull(start.get(name));
          int[] order = Philox.of(seed, "mosa", Philox.hash(name)).permutation(values.length);
          int[] owner = new int[values.length];
          for (int i = 0; i < owner.length; i++) {
            owner[order[i]] = (int) ((long) i * config.numExperts() / owner.length);
          }
          state.integers(name + OWNER, shape, owner).floats(name + START, shape, values);
        }
      }
      return state.build();
    }

    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      Map<String, float[]> values = new LinkedHashMap<>();
      sites.forEach(site -> values.putAll(site.initialValues(seed, "lora")));
      return values;
    }

    @Override
    public List<Modification> modifications(MethodTensors tensors, TuningContext context) {
      List<Modification> modifications = new ArrayList<>();
      for (Bottleneck site : sites) {
        Philox random = context.random().child(Philox.hash(site.path()));
        NDArray down = effective(site, site.down(), random.child(0), tensors, context);
        NDArray up = effective(site, site.up(), random.child(1), tensors, context);
        modifications.add(
            new Modification.OnResidual(
                site.path(),
                Insertion.PARALLEL,
                (below, x, f) -> {
                  NDArray out =
                      site.apply(tensors, low -> inner(low, random.child(2), context), x, down, up);
                  return below.apply(x, f.add(Scalars.times(out, (float) config.scaling())));
                }));
      }
      return modifications;
    }

    private NDArray inner(NDArray low, Philox random, TuningContext context) {
      NDArray out = Activation.named(config.nonLinearity()).orElseThrow().apply(low);
      return context.training() && config.adapterDropout() > 0
          ? Dropout.apply(out, config.adapterDropout(), random)
          : out;
    }

    /** The weight of this pass: one expert's in training, else the merged one. */
    private NDArray effective(
        Bottleneck site, String name, Philox random, MethodTensors tensors, TuningContext context) {
      NDArray weight = tensors.parameter(name);
      if (!split(site).contains(name)) {
        return weight;
      }
      NDArray start = tensors.state(name + START);
      if (context.training()) {
        int expert = (int) (random.doubleAt(0) * config.numExperts());
        NDArray own = tensors.state(name + OWNER).eq(expert);
        own.attach(context.manager());
        return weight.sub(start).mul(own.toType(DataType.FLOAT32, false)).add(start);
      }
      return config.mergeExperts().equals("sum")
          ? weight
          : Scalars.times(weight.sub(start), 1f / config.numExperts()).add(start);
    }

    @Override
    public SortedMap<String, TensorData> save(ParameterVector parameters, MethodState state) {
      SortedMap<String, TensorData> file =
          new TreeMap<>(AttachedMethod.super.save(parameters, state));
      state
          .tensors()
          .forEach(
              (name, tensor) -> {
                String full = AdapterTensors.PREFIX + name;
                file.put(full, tensor.withName(full));
              });
      return file;
    }

    @Override
    public Loaded load(AdapterTensors file, BaseWeights base) {
      Map<String, TensorData> state = new LinkedHashMap<>();
      for (Bottleneck site : sites) {
        for (String name : split(site)) {
          List<Integer> shape = Objects.requireNonNull(site.shapes().get(name));
          for (String kind : List.of(OWNER, START)) {
            TensorData tensor = file.take(AdapterTensors.PREFIX + name + kind, shape);
            state.put(name + kind, tensor.withName(name + kind));
          }
        }
      }
      return new Loaded(file.takeAll(shapes()), MethodState.of(state));
    }

    @Override
    public Optional<String> whyNotFused() {
      return Optional.of("the function between an adapter's two layers is not linear");
    }

    @Override
    public Map<String, float[]> fuse(
        ParameterVector parameters, MethodState state, BaseWeights base) {
      throw new IllegalStateException(whyNotFused().orElseThrow());
    }
  }
}
