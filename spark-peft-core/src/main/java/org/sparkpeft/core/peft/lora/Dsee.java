package org.sparkpeft.core.peft.lora;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.types.DataType;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SortedMap;
import org.sparkpeft.core.engine.Scalars;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.nn.Linear;
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
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * DSEE (Chen et al. 2021, arXiv 2111.00160): {@code y = W x + s (B A + S) x} with {@code A [r,
 * in]}, {@code B [out, r]} and S zero but for {@code sparse_entries} trained entries at fixed
 * places; {@code s = lora_alpha / r} scales S too. A starts as N(0, 0.02), B and S as zero. With
 * {@code prune_ratio}, that share of the base's linear weights, smallest magnitude first over all
 * layers, counts as zero once {@code prune_at} of the training is over; what was trained goes on
 * from where it is.
 *
 * <p>The places are chosen on the driver, where the paper alternates between a low-rank and a
 * sparse part from a random start: here they are the entries of W that are largest once its r
 * leading singular values are taken away. Federated: averaging S is exact, averaging A and B is
 * not; the driver decides when to prune.
 */
public final class Dsee implements PeftMethod<Dsee.Config> {

  /**
   * @param r rank, 1..4096
   * @param loraAlpha numerator of the scaling, above 0
   * @param loraDropout probability in [0, 1) of dropping an entry of the low-rank branch's input in
   *     training
   * @param sparseEntries trained entries of S in each weight, 1 or more
   * @param support where they are: {@code decomposed}, {@code magnitude} or {@code random}
   * @param pruneRatio share of the base's linear weights to prune, in [0, 1)
   * @param pruneAt progress of the training, in (0, 1], at which to prune
   * @param targetModules linear layers to act on
   * @param layersToTransform layer numbers to act on; empty means all
   * @param modulesToSave modules trained and saved in full
   */
  public record Config(
      int r,
      double loraAlpha,
      double loraDropout,
      int sparseEntries,
      String support,
      double pruneRatio,
      double pruneAt,
      TargetModules targetModules,
      List<Integer> layersToTransform,
      List<String> modulesToSave)
      implements PeftConfig {
    public Config {
      layersToTransform = List.copyOf(layersToTransform);
      modulesToSave = List.copyOf(modulesToSave);
      LowRank.check(new Problems(), r, loraDropout, "lora_dropout")
          .require(
              loraAlpha > 0 && Double.isFinite(loraAlpha),
              "lora_alpha",
              loraAlpha,
              "must be above 0; usual is 2 r")
          .require(
              sparseEntries >= 1, "sparse_entries", sparseEntries, "must be 1 or more; usual is 64")
          .require(
              List.of("decomposed", "magnitude", "random").contains(support),
              "support",
              support,
              "must be decomposed, magnitude or random")
          .require(
              pruneRatio >= 0 && pruneRatio < 1, "prune_ratio", pruneRatio, "must be in [0, 1)")
          .require(pruneAt > 0 && pruneAt <= 1, "prune_at", pruneAt, "must be in (0, 1]")
          .throwIfAny();
    }

    @Override
    public String peftType() {
      return "DSEE";
    }

    private float scale() {
      return (float) (loraAlpha / r);
    }
  }

  @Override
  public String peftType() {
    return "DSEE";
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
  public Config defaults() {
    return new Config(
        16,
        32,
        0,
        64,
        "decomposed",
        0,
        0.5,
        TargetModules.of("query", "value"),
        List.of(),
        List.of("classifier"));
  }

  @Override
  public AttachedMethod attach(Config config, ModuleTree modules) {
    List<ModuleSpec> sites =
        LowRank.linears(modules, config.targetModules(), config.layersToTransform());
    for (ModuleSpec site : sites) {
      long size = (long) site.in() * site.out();
      if (config.sparseEntries() > size) {
        throw new ConfigException(
            "sparse_entries",
            site.path() + " has " + size + " entries, got " + config.sparseEntries());
      }
    }
    List<ModuleSpec> pruned =
        modules.ofKind(ModuleSpec.Kind.LINEAR).stream().filter(m -> !m.isHead()).toList();
    return new Attached(config, sites, config.pruneRatio() > 0 ? pruned : List.of());
  }

  /**
   * @param pruned layers whose weights are pruned some time
   */
  private record Attached(Config config, List<ModuleSpec> sites, List<ModuleSpec> pruned)
      implements AttachedMethod {
    /** In the state: the magnitude below which base weights are pruned, and 1 once they are. */
    private static final String PRUNING = "dsee_pruning";

    private static String a(ModuleSpec site) {
      return site.path() + ".lora_A.weight";
    }

    private static String b(ModuleSpec site) {
      return site.path() + ".lora_B.weight";
    }

    private static String values(ModuleSpec site) {
      return site.path() + ".dsee_S";
    }

    private static String rows(ModuleSpec site) {
      return site.path() + ".dsee_rows";
    }

    private static String columns(ModuleSpec site) {
      return site.path() + ".dsee_columns";
    }

    @Override
    public Map<String, List<Integer>> shapes() {
      Map<String, List<Integer>> shapes = new LinkedHashMap<>();
      for (ModuleSpec site : sites) {
        shapes.put(a(site), List.of(config.r(), site.in()));
        shapes.put(b(site), List.of(site.out(), config.r()));
        shapes.put(values(site), List.of(config.sparseEntries()));
      }
      return shapes;
    }

    @Override
    public TensorRole role(String tensor) {
      return tensor.endsWith(".dsee_S") ? TensorRole.LINEAR : TensorRole.FACTOR;
    }

    @Override
    public MethodState initialState(long seed, BaseWeights base) {
      List<float[]> weights =
          sites.stream().map(site -> base.tensor(site.path() + ".weight")).toList();
      List<int[]> places =
          java.util.stream.IntStream.range(0, sites.size())
              .parallel()
              .mapToObj(i -> places(sites.get(i), weights.get(i), seed))
              .toList();
      MethodState.Builder state = new MethodState.Builder();
      List<Integer> shape = List.of(config.sparseEntries());
      for (int i = 0; i < sites.size(); i++) {
        int in = sites.get(i).in();
        int[] chosen = places.get(i);
        state.integers(
            rows(sites.get(i)), shape, java.util.Arrays.stream(chosen).map(p -> p / in).toArray());
        state.integers(
            columns(sites.get(i)),
            shape,
            java.util.Arrays.stream(chosen).map(p -> p % in).toArray());
      }
      if (!pruned.isEmpty()) {
        List<String> names = pruned.stream().map(module -> module.path() + ".weight").toList();
        float threshold = SparseSupport.threshold(names, base, config.pruneRatio());
        state.floats(PRUNING, List.of(2), new float[] {threshold, 0});
      }
      return state.build();
    }

    private int[] places(ModuleSpec site, float[] weight, long seed) {
      return SparseSupport.choose(
          config.support(),
          config.sparseEntries(),
          weight,
          site.out(),
          site.in(),
          config.r(),
          Philox.of(seed, "dsee support", Philox.hash(site.path())));
    }

    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      Map<String, float[]> values = new LinkedHashMap<>();
      for (ModuleSpec site : sites) {
        Philox random = Philox.of(seed, "dsee", Philox.hash(site.path()));
        values.put(a(site), random.gaussian(config.r() * site.in(), 0.02));
        values.put(b(site), new float[site.out() * config.r()]);
        values.put(values(site), new float[config.sparseEntries()]);
      }
      return values;
    }

    @Override
    public List<Modification> modifications(MethodTensors tensors, TuningContext context) {
      List<Modification> modifications = new ArrayList<>();
      if (!pruned.isEmpty()) {
        float[] pruning = tensors.state(PRUNING).toFloatArray();
        if (pruning[1] > 0) {
          for (ModuleSpec module : pruned) {
            modifications.add(
                Modification.weight(module.path(), w -> kept(w, pruning[0], context)));
          }
        }
      }
      for (ModuleSpec site : sites) {
        NDArray a = tensors.parameter(a(site));
        NDArray b = tensors.parameter(b(site));
        NDArray values = tensors.parameter(values(site));
        NDArray pick = oneHot(tensors.state(columns(site)), site.in(), context); // [n, in]
        NDArray place = oneHot(tensors.state(rows(site)), site.out(), context); // [n, out]
        modifications.add(
            Modification.parallel(
                site.path(),
                x -> {
                  NDArray kept = LowRank.dropped(site.path(), x, config.loraDropout(), context);
                  NDArray low = Linear.of(Linear.of(kept, a, null), b, null);
                  NDArray sparse = Linear.of(x, pick, null).mul(values).matMul(place);
                  return Scalars.times(low.add(sparse), config.scale());
                }));
      }
      return modifications;
    }

    /** The weight without entries below the threshold, owned by the step. */
    private static NDArray kept(NDArray weight, float threshold, TuningContext context) {
      NDArray copy = weight.duplicate();
      copy.attach(context.manager());
      return copy.mul(copy.abs().gte(threshold).toType(DataType.FLOAT32, false));
    }

    private static NDArray oneHot(NDArray indices, int size, TuningContext context) {
      NDArray rows = indices.duplicate();
      rows.attach(context.manager());
      return rows.oneHot(size, DataType.FLOAT32);
    }

    @Override
    public StepObserver observer(MethodState state, TrainingSpan span, ParameterLayout layout) {
      if (pruned.isEmpty() || !span.alone() || isPruned(state)) {
        return StepObserver.NONE;
      }
      long last = Math.max(0, Math.round(config.pruneAt() * span.updates()) - 1);
      return new StepObserver() {
        @Override
        public Optional<MethodState> afterStep(Update update) {
          return update.update() == last ? Optional.of(pruned(state)) : Optional.empty();
        }
      };
    }

    private static boolean isPruned(MethodState state) {
      return state.floats(PRUNING)[1] > 0;
    }

    private static MethodState pruned(MethodState state) {
      float[] pruning = {state.floats(PRUNING)[0], 1};
      return state.with(new MethodState.Builder().floats(PRUNING, List.of(2), pruning).build());
    }

    @Override
    public RoundDecision.Output decide(MethodState state, RoundDecision.Input input) {
      boolean due = !pruned.isEmpty() && !isPruned(state) && input.progress() >= config.pruneAt();
      return new RoundDecision.Output(due ? pruned(state) : state, input.parameters());
    }

    /** {@code W + s (B A + S)}, W pruned where that has happened. */
    @Override
    public Map<String, float[]> fuse(
        ParameterVector parameters, MethodState state, BaseWeights base) {
      Map<String, float[]> fused = new LinkedHashMap<>();
      if (!pruned.isEmpty() && isPruned(state)) {
        float threshold = state.floats(PRUNING)[0];
        for (ModuleSpec module : pruned) {
          float[] weight = base.tensor(module.path() + ".weight").clone();
          for (int i = 0; i < weight.length; i++) {
            weight[i] = Math.abs(weight[i]) >= threshold ? weight[i] : 0;
          }
          fused.put(module.path() + ".weight", weight);
        }
      }
      for (ModuleSpec site : sites) {
        String name = site.path() + ".weight";
        float[] weight = fused.containsKey(name) ? fused.get(name) : base.tensor(name).clone();
        LowRank.addProduct(
            weight,
            parameters.tensor(b(site)),
            parameters.tensor(a(site)),
            site.out(),
            site.in(),
            config.scale());
        int[] rows = state.integers(rows(site));
        int[] columns = state.integers(columns(site));
        float[] values = parameters.tensor(values(site));
        for (int i = 0; i < values.length; i++) {
          weight[rows[i] * site.in() + columns[i]] += config.scale() * values[i];
        }
        fused.put(name, weight);
      }
      return fused;
    }

    @Override
    public SortedMap<String, TensorData> save(ParameterVector parameters, MethodState state) {
      SortedMap<String, TensorData> file = AttachedMethod.super.save(parameters, state);
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
      MethodState.Builder state = new MethodState.Builder();
      List<Integer> shape = List.of(config.sparseEntries());
      for (ModuleSpec site : sites) {
        state.integers(rows(site), shape, places(file, rows(site), shape, site.out()));
        state.integers(columns(site), shape, places(file, columns(site), shape, site.in()));
      }
      if (!pruned.isEmpty()) {
        TensorData pruning = file.take(AdapterTensors.PREFIX + PRUNING, List.of(2));
        state.floats(PRUNING, List.of(2), pruning.toFloats());
      }
      return new Loaded(file.takeAll(shapes()), state.build());
    }

    private static int[] places(AdapterTensors file, String name, List<Integer> shape, int limit) {
      long[] places = file.take(AdapterTensors.PREFIX + name, shape).toLongs();
      int[] checked = new int[places.length];
      for (int i = 0; i < checked.length; i++) {
        if (places[i] < 0 || places[i] >= limit) {
          throw new ConfigException(
              name, "holds the place " + places[i] + "; the layer has 0.." + (limit - 1));
        }
        checked[i] = (int) places[i];
      }
      return checked;
    }
  }
}
