package org.sparkpeft.core.peft.sharing;

import ai.djl.ndarray.NDArray;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.core.engine.Scalars;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.io.DType;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.nn.Embedding;
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
import org.sparkpeft.core.peft.TargetModules;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * MoS, mixture of shards (Wang et al. 2024, arXiv 2410.00938): LoRA whose factor rows are put
 * together from shards that all layers of a module type share. With L layers, {@code l} shards in a
 * row and equivalent rank {@code e}, a type has the pools {@code A [n, in/l]} and {@code B [n,
 * out/l]}, {@code n = e L l}, as many numbers as LoRA of rank e. Row j of a layer's {@code A [r,
 * in]} is the shards {@code idxA[j l .. j l + l - 1]} side by side; the rows of {@code Bt [r, out]}
 * likewise, drawn apart from A's; and {@code y = W x + b + (alpha / r) B A dropout(x)} with r the
 * rows put together, not e. Of the rows, {@code private_rank} are of shards no other layer has; the
 * others are drawn without repetition from the public {@code (e - p) L l}.
 *
 * <p>A module type is a path without its layer number. The indices are the state: drawn once, sent,
 * never averaged. Federated, pools are averaged as factors.
 */
public final class Mos implements PeftMethod<Mos.Config> {

  /**
   * Settings.
   *
   * @param r rows put together in each layer, 1..512
   * @param equivalentRank rank of the LoRA with as many parameters, 1 or above
   * @param shardsPerVector shards in a row; must divide inputs and outputs of each layer
   * @param privateRank rows of a layer's own, at most {@code r} and {@code equivalentRank}
   * @param loraAlpha numerator of the scaling, above 0
   * @param loraDropout probability in [0, 1) of dropping an entry of the branch's input
   * @param targetModules linear layers to act on
   * @param modulesToSave modules trained and saved in full
   * @param saveAs {@code own}: pools and indices; {@code lora}: an ordinary LoRA of rank r
   */
  public record Config(
      int r,
      int equivalentRank,
      int shardsPerVector,
      int privateRank,
      double loraAlpha,
      double loraDropout,
      TargetModules targetModules,
      List<String> modulesToSave,
      String saveAs)
      implements PeftConfig {
    public Config {
      modulesToSave = List.copyOf(modulesToSave);
      Problems problems = new Problems();
      LowRank.checkRank(problems, r);
      LowRank.checkScaling(problems, loraAlpha, loraDropout);
      LoraFile.check(problems, saveAs);
      problems
          .require(
              equivalentRank >= 1 && equivalentRank <= 512,
              "equivalent_rank",
              equivalentRank,
              "must be 1..512; usual is r / 4 or r / 2")
          .require(
              shardsPerVector >= 1,
              "shards_per_vector",
              shardsPerVector,
              "must be 1 or more; usual is 4")
          .require(
              privateRank >= 0 && privateRank <= Math.min(r, equivalentRank),
              "private_rank",
              privateRank,
              "must be 0.." + Math.min(r, equivalentRank) + ", neither above r nor equivalent_rank")
          .require(
              privateRank < equivalentRank || r == privateRank,
              "private_rank",
              privateRank,
              "equals equivalent_rank, so no shard is public; then r must equal it too");
      problems.throwIfAny();
    }

    @Override
    public String peftType() {
      return "MOS";
    }
  }

  @Override
  public String peftType() {
    return "MOS";
  }

  @Override
  public Class<Config> configType() {
    return Config.class;
  }

  @Override
  public MethodClass methodClass() {
    return MethodClass.REPARAMETERISED;
  }

  /** No private rows: with them, a model of two layers has too few public shards. */
  @Override
  public Config defaults() {
    TargetModules targets = TargetModules.of("query", "value");
    return new Config(4, 2, 4, 0, 8, 0, targets, List.of("classifier"), "own");
  }

  @Override
  public AttachedMethod attach(Config config, ModuleTree modules) {
    Map<String, List<ModuleSpec>> types = new LinkedHashMap<>();
    for (ModuleSpec module : LowRank.linears(modules, config.targetModules(), List.of())) {
      types.computeIfAbsent(type(module.path()), key -> new ArrayList<>()).add(module);
    }
    List<Pool> pools = new ArrayList<>();
    types.forEach((name, layers) -> pools.add(pool(config, name, layers)));
    return new Attached(config, List.copyOf(pools));
  }

  /** The path without layer numbers. */
  private static String type(String path) {
    return path.replaceAll("\\.\\d+(?=\\.|$)", "");
  }

  private static Pool pool(Config config, String name, List<ModuleSpec> layers) {
    ModuleSpec first = layers.get(0);
    int l = config.shardsPerVector();
    Problems problems = new Problems();
    for (ModuleSpec layer : layers) {
      problems.require(
          layer.in() == first.in() && layer.out() == first.out(),
          "target_modules",
          layer.path(),
          "layers that share a pool must have one shape, ["
              + first.out()
              + ", "
              + first.in()
              + "]");
    }
    problems.require(
        first.in() % l == 0 && first.out() % l == 0,
        "shards_per_vector",
        l,
        "must divide the inputs and outputs of "
            + first.path()
            + ", "
            + first.in()
            + " and "
            + first.out());
    int available = (config.equivalentRank() - config.privateRank()) * layers.size() * l;
    int drawn = (config.r() - config.privateRank()) * l;
    problems.require(
        drawn <= available,
        "r",
        config.r(),
        "a layer draws "
            + drawn
            + " shards without repetition, but only "
            + available
            + " are public; lower r or raise equivalent_rank");
    problems.throwIfAny();
    return new Pool(
        name, layers.stream().map(ModuleSpec::path).toList(), first.in(), first.out(), available);
  }

  /**
   * The layers that share.
   *
   * @param publicShards shards that any of them may use; the others follow, layer after layer
   */
  private record Pool(String name, List<String> layers, int in, int out, int publicShards) {
    String a() {
      return name + ".mos_A_pool";
    }

    String b() {
      return name + ".mos_B_pool";
    }
  }

  /** Rows of {@code pool [n, width]} side by side: {@code [r, length]}, row-major. */
  static float[] assemble(float[] pool, int[] index, int width) {
    float[] rows = new float[index.length * width];
    for (int i = 0; i < index.length; i++) {
      System.arraycopy(pool, index[i] * width, rows, i * width, width);
    }
    return rows;
  }

  private static String indexA(String path) {
    return path + ".mos_index_A";
  }

  private static String indexB(String path) {
    return path + ".mos_index_B";
  }

  private record Attached(Config config, List<Pool> pools) implements AttachedMethod {
    private int shards(Pool pool) {
      return config.equivalentRank() * pool.layers().size() * config.shardsPerVector();
    }

    private List<Integer> indexShape() {
      return List.of(config.r() * config.shardsPerVector());
    }

    private float scale() {
      return (float) (config.loraAlpha() / config.r());
    }

    @Override
    public Map<String, List<Integer>> shapes() {
      Map<String, List<Integer>> shapes = new LinkedHashMap<>();
      int l = config.shardsPerVector();
      for (Pool pool : pools) {
        shapes.put(pool.a(), List.of(shards(pool), pool.in() / l));
        shapes.put(pool.b(), List.of(shards(pool), pool.out() / l));
      }
      return shapes;
    }

    @Override
    public MethodState initialState(long seed, BaseWeights base) {
      MethodState.Builder state = new MethodState.Builder();
      for (Pool pool : pools) {
        for (int layer = 0; layer < pool.layers().size(); layer++) {
          String path = pool.layers().get(layer);
          Philox random = Philox.of(seed, "mos index", Philox.hash(path));
          state.integers(indexA(path), indexShape(), draw(pool, layer, random.child(0)));
          state.integers(indexB(path), indexShape(), draw(pool, layer, random.child(1)));
        }
      }
      return state.build();
    }

    /** Public shards without repetition, then the layer's own. */
    private int[] draw(Pool pool, int layer, Philox random) {
      int own = config.privateRank() * config.shardsPerVector();
      int[] index = new int[config.r() * config.shardsPerVector()];
      int[] order = random.permutation(pool.publicShards());
      System.arraycopy(order, 0, index, 0, index.length - own);
      for (int i = 0; i < own; i++) {
        index[index.length - own + i] = pool.publicShards() + layer * own + i;
      }
      return index;
    }

    /** A uniform within 1/sqrt(in), in of the whole row; B zero. */
    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      Map<String, float[]> values = new LinkedHashMap<>();
      int l = config.shardsPerVector();
      for (Pool pool : pools) {
        Philox random = Philox.of(seed, "mos", Philox.hash(pool.name()));
        int n = shards(pool);
        values.put(pool.a(), LowRank.kaiming(random, n * (pool.in() / l), pool.in()));
        values.put(pool.b(), new float[n * (pool.out() / l)]);
      }
      return values;
    }

    @Override
    public List<Modification> modifications(MethodTensors tensors, TuningContext context) {
      List<Modification> modifications = new ArrayList<>();
      for (Pool pool : pools) {
        NDArray poolA = tensors.parameter(pool.a());
        NDArray poolB = tensors.parameter(pool.b());
        for (String path : pool.layers()) {
          modifications.add(
              Modification.parallel(
                  path,
                  x -> {
                    NDArray a = rows(poolA, tensors.state(indexA(path)), context);
                    NDArray b = rows(poolB, tensors.state(indexB(path)), context);
                    NDArray dropped = LowRank.dropped(x, path, config.loraDropout(), context);
                    NDArray low = Scalars.times(Linear.of(dropped, a, null), scale()); // [.., r]
                    return low.matMul(b); // [..., out]
                  }));
        }
      }
      return modifications;
    }

    /** {@code [r, length]} of a pool. */
    private NDArray rows(NDArray pool, NDArray index, TuningContext context) {
      NDArray shards = Embedding.of(index, pool); // [r l, length / l]
      shards.attach(context.manager());
      return shards.reshape(config.r(), -1);
    }

    private float[] a(Pool pool, String path, ParameterVector parameters, MethodState state) {
      return assemble(
          parameters.tensor(pool.a()),
          state.integers(indexA(path)),
          pool.in() / config.shardsPerVector());
    }

    private float[] b(Pool pool, String path, ParameterVector parameters, MethodState state) {
      float[] rows =
          assemble(
              parameters.tensor(pool.b()),
              state.integers(indexB(path)),
              pool.out() / config.shardsPerVector());
      return LowRank.transposed(rows, config.r(), pool.out());
    }

    /** {@code W + s B A}. */
    @Override
    public Map<String, float[]> fuse(
        ParameterVector parameters, MethodState state, BaseWeights base) {
      Map<String, float[]> fused = new LinkedHashMap<>();
      for (Pool pool : pools) {
        for (String path : pool.layers()) {
          float[] weight = base.tensor(path + ".weight").clone();
          float[] a = a(pool, path, parameters, state);
          LowRank.add(weight, a, b(pool, path, parameters, state), config.r(), scale());
          fused.put(path + ".weight", weight);
        }
      }
      return fused;
    }

    // -------------------------------------------------------------- files

    private boolean expands() {
      return config.saveAs().equals("lora");
    }

    @Override
    public SortedMap<String, TensorData> save(ParameterVector parameters, MethodState state) {
      if (!expands()) {
        List<TensorData> file =
            new ArrayList<>(AttachedMethod.super.save(parameters, state).values());
        state.tensors().forEach((name, t) -> file.add(t.withName(AdapterTensors.PREFIX + name)));
        return TensorData.byName(file);
      }
      LoraFile file = new LoraFile();
      for (Pool pool : pools) {
        for (String path : pool.layers()) {
          float[] a = a(pool, path, parameters, state);
          file.add(path, a, b(pool, path, parameters, state), config.r());
        }
      }
      return file.tensors();
    }

    @Override
    public SortedMap<String, Object> savedFields(MethodState state) {
      return expands()
          ? LoraFile.fields(config, config.r(), config.loraAlpha(), config.targetModules())
          : new TreeMap<>();
    }

    @Override
    public Loaded load(AdapterTensors file, BaseWeights base) {
      Map<String, TensorData> state = new LinkedHashMap<>();
      for (Pool pool : pools) {
        for (String path : pool.layers()) {
          for (String name : List.of(indexA(path), indexB(path))) {
            TensorData index = file.take(AdapterTensors.PREFIX + name, indexShape());
            long[] values = index.toLongs();
            if (Arrays.stream(values).anyMatch(i -> i < 0 || i >= shards(pool))) {
              throw new FormatException(
                  name,
                  "must hold numbers of shards, 0.."
                      + (shards(pool) - 1)
                      + ", got "
                      + Arrays.toString(values));
            }
            state.put(name, TensorData.ofLongs(name, indexShape(), values, DType.I32));
          }
        }
      }
      return new Loaded(file.takeAll(shapes()), MethodState.of(state));
    }
  }
}
