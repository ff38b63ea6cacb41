package org.sparkpeft.core.peft.sharing;

import ai.djl.ndarray.NDArray;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.io.DType;
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
import org.sparkpeft.core.peft.StepObserver;
import org.sparkpeft.core.peft.TargetModules;
import org.sparkpeft.core.peft.TrainingSpan;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * LoRA through a pool of shared numbers (STABLE-RPS, Desai and Shrivastava 2023, arXiv 2310.11611):
 * {@code y = W x + b + (alpha / r) B A x}, and the entries of all layers' A and B, one after the
 * other, are {@code start[i] + pool[h(i)]}, of which the pool {@code [m]} alone is trained. LoRA's
 * start, A random and B zero, is frozen and the pool begins at zero, so that nothing changes at the
 * start. h is RANDOMFOLD: each m entries in turn map onto the pool one to one, so that the numbers
 * of entries at two slots differ by 1 at most and a pool as large as the adapter is LoRA itself; or
 * ROBE-Z (Desai et al. 2021, arXiv 2108.02191).
 *
 * <p>A slot's gradient is divided by the number of its entries, which the paper's scaling comes to
 * when all entries have one scale [its exact form was not available]; an optimiser that divides by
 * the gradient's size, as Adam does, hardly notices.
 *
 * <p>h and the start follow from the seed of the run, which is all that an adapter's file needs
 * beside the pool. Federated: m numbers a client; averaging the pool is averaging the factors.
 */
public final class StableRps implements PeftMethod<StableRps.Config> {
  private static final String POOL = "rps_pool";
  private static final String SEED = "rps_seed";

  /**
   * Settings.
   *
   * @param r rank, 1..512
   * @param loraAlpha numerator of the scaling, above 0
   * @param loraDropout probability in [0, 1) of dropping an entry of the branch's input
   * @param compression entries of the adapter for each number of the pool, 1 or above
   * @param mapping {@code randomfold} or {@code robe-z}
   * @param chunkSize consecutive entries that stay together under {@code robe-z}
   * @param targetModules linear layers to act on
   * @param modulesToSave modules trained and saved in full
   * @param saveAs {@code own}: pool and seed; {@code lora}: an ordinary LoRA
   */
  public record Config(
      int r,
      double loraAlpha,
      double loraDropout,
      double compression,
      String mapping,
      int chunkSize,
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
              compression >= 1 && Double.isFinite(compression),
              "compression",
              compression,
              "must be 1 or more; usual is 4..32")
          .require(
              PoolMapping.NAMES.contains(mapping),
              "mapping",
              mapping,
              "must be one of " + PoolMapping.NAMES)
          .require(chunkSize >= 1, "chunk_size", chunkSize, "must be 1 or more; usual is 8..64");
      problems.throwIfAny();
    }

    @Override
    public String peftType() {
      return "STABLE_RPS";
    }
  }

  @Override
  public String peftType() {
    return "STABLE_RPS";
  }

  @Override
  public Class<Config> configType() {
    return Config.class;
  }

  @Override
  public MethodClass methodClass() {
    return MethodClass.REPARAMETERISED;
  }

  @Override
  public Config defaults() {
    TargetModules targets = TargetModules.of("query", "value");
    List<String> save = List.of("classifier");
    return new Config(8, 16, 0, 8, PoolMapping.RANDOMFOLD, 16, targets, save, "own");
  }

  @Override
  public AttachedMethod attach(Config config, ModuleTree modules) {
    List<Site> sites = new ArrayList<>();
    int entries = 0;
    for (ModuleSpec module : LowRank.linears(modules, config.targetModules(), List.of())) {
      Site site = new Site(module.path(), module.in(), module.out(), entries);
      entries = Math.addExact(entries, config.r() * (module.in() + module.out()));
      sites.add(site);
    }
    int slots = (int) Math.ceil(entries / config.compression());
    if (config.mapping().equals(PoolMapping.ROBE_Z) && config.chunkSize() > slots) {
      throw new ConfigException(
          "chunk_size",
          "must be at most the pool's size, "
              + entries
              + " entries / compression = "
              + slots
              + ", got "
              + config.chunkSize());
    }
    return new Attached(config, List.copyOf(sites), entries, slots);
  }

  /**
   * An adapted layer.
   *
   * @param from place of A's first entry among all; B's follow A's
   */
  private record Site(String path, int in, int out, int from) {
    String startA() {
      return path + ".rps_start_A";
    }

    String indexA() {
      return path + ".rps_index_A";
    }

    String indexB() {
      return path + ".rps_index_B";
    }
  }

  private record Attached(Config config, List<Site> sites, int entries, int slots)
      implements AttachedMethod {
    private float scale() {
      return (float) (config.loraAlpha() / config.r());
    }

    @Override
    public Map<String, List<Integer>> shapes() {
      return Map.of(POOL, List.of(slots));
    }

    @Override
    public MethodState initialState(long seed, BaseWeights base) {
      Philox random = Philox.of(seed, "rps");
      int[] index =
          config.mapping().equals(PoolMapping.RANDOMFOLD)
              ? PoolMapping.randomFold(entries, slots, random)
              : PoolMapping.robe(entries, slots, config.chunkSize(), random);
      int r = config.r();
      MethodState.Builder state = new MethodState.Builder();
      for (Site site : sites) {
        int a = r * site.in();
        int b = r * site.out();
        int middle = site.from() + a;
        Philox own = Philox.of(seed, "rps start", Philox.hash(site.path()));
        state
            .floats(site.startA(), List.of(r, site.in()), LowRank.kaiming(own, a, site.in()))
            .integers(site.indexA(), List.of(a), Arrays.copyOfRange(index, site.from(), middle))
            .integers(site.indexB(), List.of(b), Arrays.copyOfRange(index, middle, middle + b));
      }
      TensorData stored = TensorData.ofLongs(SEED, List.of(1), new long[] {seed}, DType.I64);
      return state.build().with(MethodState.of(Map.of(SEED, stored)));
    }

    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      return Map.of(POOL, new float[slots]);
    }

    @Override
    public List<Modification> modifications(MethodTensors tensors, TuningContext context) {
      NDArray pool = tensors.parameter(POOL);
      List<Modification> modifications = new ArrayList<>();
      for (Site site : sites) {
        modifications.add(
            Modification.parallel(
                site.path(),
                x -> {
                  NDArray a =
                      pool.gather(tensors.state(site.indexA()), 0)
                          .reshape(config.r(), site.in())
                          .add(tensors.state(site.startA()));
                  NDArray b =
                      pool.gather(tensors.state(site.indexB()), 0).reshape(site.out(), config.r());
                  NDArray dropped = LowRank.dropped(x, site.path(), config.loraDropout(), context);
                  return LowRank.delta(dropped, a, b, scale());
                }));
      }
      return modifications;
    }

    @Override
    public StepObserver observer(MethodState state, TrainingSpan span, ParameterLayout layout) {
      int[] loads = new int[slots];
      for (Site site : sites) {
        for (String name : List.of(site.indexA(), site.indexB())) {
          int[] more = PoolMapping.loads(state.integers(name), slots);
          Arrays.setAll(loads, slot -> loads[slot] + more[slot]);
        }
      }
      int from = layout.entry(POOL).offset();
      return new StepObserver() {
        @Override
        public void beforeStep(Update update) {
          for (int slot = 0; slot < loads.length; slot++) {
            update.gradient()[from + slot] /= Math.max(1, loads[slot]);
          }
        }
      };
    }

    private float[] a(Site site, float[] pool, MethodState state) {
      float[] a = state.floats(site.startA()).clone();
      int[] index = state.integers(site.indexA());
      for (int i = 0; i < a.length; i++) {
        a[i] += pool[index[i]];
      }
      return a;
    }

    private float[] b(Site site, float[] pool, MethodState state) {
      int[] index = state.integers(site.indexB());
      float[] b = new float[index.length];
      for (int i = 0; i < b.length; i++) {
        b[i] = pool[index[i]];
      }
      return b;
    }

    /** {@code W + s B A}. */
    @Override
    public Map<String, float[]> fuse(
        ParameterVector parameters, MethodState state, BaseWeights base) {
      float[] pool = parameters.tensor(POOL);
      Map<String, float[]> fused = new LinkedHashMap<>();
      for (Site site : sites) {
        float[] weight = base.tensor(site.path() + ".weight").clone();
        float[] a = a(site, pool, state);
        LowRank.add(weight, a, b(site, pool, state), config.r(), scale());
        fused.put(site.path() + ".weight", weight);
      }
      return fused;
    }

    private boolean expands() {
      return config.saveAs().equals("lora");
    }

    @Override
    public SortedMap<String, TensorData> save(ParameterVector parameters, MethodState state) {
      if (!expands()) {
        List<TensorData> file =
            new ArrayList<>(AttachedMethod.super.save(parameters, state).values());
        file.add(state.tensor(SEED).withName(AdapterTensors.PREFIX + SEED));
        return TensorData.byName(file);
      }
      float[] pool = parameters.tensor(POOL);
      LoraFile file = new LoraFile();
      for (Site site : sites) {
        file.add(site.path(), a(site, pool, state), b(site, pool, state), config.r());
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
      long seed = file.take(AdapterTensors.PREFIX + SEED, List.of(1)).toLongs()[0];
      return new Loaded(file.takeAll(shapes()), initialState(seed, base));
    }
  }
}
