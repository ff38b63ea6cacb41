package org.sparkpeft.core.peft.sharing;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.types.Shape;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.SortedMap;
import org.sparkpeft.core.engine.Scalars;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.model.ModelInput;
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
import org.sparkpeft.core.peft.TargetModules;
import org.sparkpeft.core.peft.TaskRows;
import org.sparkpeft.core.peft.TensorRole;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * Polytropon (Ponti et al. 2022, arXiv 2202.13914) and multi-head routing (Caccia et al. 2022,
 * arXiv 2211.03831): {@code y = W x + b + (x A_t B_t) / r} for an example of task t. Each layer has
 * an inventory {@code A [splits, skills, in/splits, r]}, {@code B [splits, skills, r, out/splits]}
 * and logits {@code [tasks, splits skills]}; {@code A_t [in, r]} puts the splits' mixtures {@code
 * sum_s w[t,q,s] A[q,s]} below each other, {@code B_t [r, out]} side by side, and {@code w = z /
 * (sum_s z + 1e-12)}. More than one split is MHR. As in Hugging Face PEFT, z is a relaxed Bernoulli
 * sample of temperature 1 for each example in training and {@code sigmoid(logits)} otherwise, and
 * the scale is 1/r without an alpha.
 *
 * <p>{@code trainable} makes two variants of the MHR paper, each starting from a trained Poly
 * adapter: {@code logits} (MHR-z) holds the skills in the state and trains routing alone; {@code
 * average} (MHR-mu) gives up routing and trains one adapter, the mean of the A times the mean of
 * the B, not the mean of products. Both are saved as Poly files; the latter with equal skills.
 *
 * <p>Federated: skills are matched by number from a common start. A client moves the logits of its
 * own tasks only, and a task's row is averaged over the clients that have it.
 */
public final class Poly implements PeftMethod<Poly.Config> {
  private static final float EPSILON = 1e-12f;

  /** Bound of the logits' starting values. */
  private static final float LOGITS = 1e-3f;

  /**
   * Settings; the last three are not Hugging Face's and are written only where they differ from the
   * default.
   *
   * @param r rank of a skill, 1..512
   * @param targetModules linear layers to act on
   * @param excludeModules names, as in {@code targetModules}, to leave out
   * @param modulesToSave modules trained and saved in full
   * @param initWeights whether B starts at zero, so that nothing changes at the start
   * @param polyType {@code poly}, the only kind there is
   * @param nTasks number of tasks; an example's task must be below it
   * @param nSkills skills in each layer
   * @param nSplits heads of the routing; must divide inputs and outputs of each layer
   * @param gate {@code sample} a relaxed Bernoulli in training, or {@code sigmoid} as in inference
   * @param trainable {@code all}, {@code logits} or {@code average}
   * @param routerLrRatio factor on the logits' learning rate; the paper has 100
   */
  public record Config(
      int r,
      TargetModules targetModules,
      List<String> excludeModules,
      List<String> modulesToSave,
      boolean initWeights,
      String polyType,
      int nTasks,
      int nSkills,
      int nSplits,
      String gate,
      String trainable,
      double routerLrRatio)
      implements PeftConfig {
    public Config {
      excludeModules = List.copyOf(excludeModules);
      modulesToSave = List.copyOf(modulesToSave);
      Problems problems = new Problems();
      LowRank.checkRank(problems, r);
      problems
          .require(polyType.equals("poly"), "poly_type", polyType, "must be poly")
          .require(nTasks >= 1, "n_tasks", nTasks, "must be 1 or more")
          .require(nSkills >= 1 && nSkills <= 1024, "n_skills", nSkills, "must be 1..1024")
          .require(nSplits >= 1, "n_splits", nSplits, "must be 1 or more")
          .require(
              List.of("sample", "sigmoid").contains(gate),
              "gate",
              gate,
              "must be sample or sigmoid")
          .require(
              List.of("all", "logits", "average").contains(trainable),
              "trainable",
              trainable,
              "must be all, logits (MHR-z) or average (MHR-mu)")
          .require(
              routerLrRatio > 0 && Double.isFinite(routerLrRatio),
              "router_lr_ratio",
              routerLrRatio,
              "must be above 0; the paper has 100");
      problems.throwIfAny();
    }

    /** The same settings with another {@code gate}. */
    public Config withGate(String other) {
      return new Config(
          r,
          targetModules,
          excludeModules,
          modulesToSave,
          initWeights,
          polyType,
          nTasks,
          nSkills,
          nSplits,
          other,
          trainable,
          routerLrRatio);
    }

    @Override
    public String peftType() {
      return "POLY";
    }

    /** None where routing is given up. */
    @Override
    public OptionalInt taskCount() {
      return trainable.equals("average") ? OptionalInt.empty() : OptionalInt.of(nTasks);
    }
  }

  @Override
  public String peftType() {
    return "POLY";
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
    return defaults(List.of("classifier"));
  }

  @Override
  public Config fileDefaults() {
    return defaults(List.of());
  }

  private static Config defaults(List<String> save) {
    TargetModules targets = TargetModules.of("query", "value");
    return new Config(8, targets, List.of(), save, true, "poly", 1, 4, 1, "sample", "all", 1);
  }

  @Override
  public SortedMap<String, Object> writeConfig(Config config) {
    SortedMap<String, Object> fields = PeftMethod.super.writeConfig(config);
    fields.remove("gate", "sample");
    fields.remove("trainable", "all");
    fields.remove("router_lr_ratio", 1.0);
    return fields;
  }

  @Override
  public AttachedMethod attach(Config config, ModuleTree modules) {
    List<Site> sites = new ArrayList<>();
    for (ModuleSpec module :
        LowRank.linears(modules, config.targetModules(), config.excludeModules())) {
      if (module.in() % config.nSplits() != 0 || module.out() % config.nSplits() != 0) {
        throw new ConfigException(
            "n_splits",
            "must divide the inputs and outputs of each layer; "
                + module.path()
                + " has "
                + module.in()
                + " and "
                + module.out()
                + ", got "
                + config.nSplits());
      }
      sites.add(new Site(module.path(), module.in(), module.out()));
    }
    return new Attached(config, List.copyOf(sites));
  }

  private record Site(String path, int in, int out) {
    String a() {
      return path + ".poly_lora_A";
    }

    String b() {
      return path + ".poly_lora_B";
    }

    String logits() {
      return path + ".poly_router.module_logits";
    }

    List<Integer> shapeA(Config c) {
      return List.of(c.nSplits(), c.nSkills(), in / c.nSplits(), c.r());
    }

    List<Integer> shapeB(Config c) {
      return List.of(c.nSplits(), c.nSkills(), c.r(), out / c.nSplits());
    }
  }

  private record Attached(Config config, List<Site> sites) implements AttachedMethod {
    private PolySkills skills() {
      return new PolySkills(config.nSplits(), config.nSkills(), config.r());
    }

    private boolean routes() {
      return !config.trainable().equals("average");
    }

    private boolean skillsAreFrozen() {
      return config.trainable().equals("logits");
    }

    private List<Integer> shapeLogits() {
      return List.of(config.nTasks(), config.nSplits() * config.nSkills());
    }

    @Override
    public Map<String, List<Integer>> shapes() {
      Map<String, List<Integer>> shapes = new LinkedHashMap<>();
      for (Site site : sites) {
        if (!routes()) {
          shapes.put(site.a(), List.of(site.in(), config.r()));
          shapes.put(site.b(), List.of(config.r(), site.out()));
          continue;
        }
        if (!skillsAreFrozen()) {
          shapes.put(site.a(), site.shapeA(config));
          shapes.put(site.b(), site.shapeB(config));
        }
        shapes.put(site.logits(), shapeLogits());
      }
      return shapes;
    }

    @Override
    public TensorRole role(String tensor) {
      return tensor.endsWith("module_logits")
          ? TensorRole.FACTOR.withRate(config.routerLrRatio()).bySlices()
          : TensorRole.FACTOR;
    }

    /** Frozen skills are random, B too, until an adapter is loaded: zeros would learn nothing. */
    @Override
    public MethodState initialState(long seed, BaseWeights base) {
      if (!skillsAreFrozen()) {
        return MethodState.EMPTY;
      }
      MethodState.Builder state = new MethodState.Builder();
      for (Site site : sites) {
        Philox random = random(seed, site);
        state.floats(site.a(), site.shapeA(config), startA(random, site, config.nSkills()));
        state.floats(site.b(), site.shapeB(config), startB(random, site, config.nSkills()));
      }
      return state.build();
    }

    private static Philox random(long seed, Site site) {
      return Philox.of(seed, "poly", Philox.hash(site.path()));
    }

    private float[] startA(Philox random, Site site, int skills) {
      int size = skills * site.in() * config.r();
      return LowRank.kaiming(random.child(0), size, site.in() / config.nSplits());
    }

    private float[] startB(Philox random, Site site, int skills) {
      return LowRank.kaiming(random.child(1), skills * site.out() * config.r(), config.r());
    }

    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      Map<String, float[]> values = new LinkedHashMap<>();
      int skills = routes() ? config.nSkills() : 1;
      for (Site site : sites) {
        Philox random = random(seed, site);
        if (!skillsAreFrozen()) {
          int sizeB = skills * site.out() * config.r();
          values.put(site.a(), startA(random, site, skills));
          values.put(
              site.b(), config.initWeights() ? new float[sizeB] : startB(random, site, skills));
        }
        if (routes()) {
          int size = config.nTasks() * config.nSplits() * config.nSkills();
          values.put(site.logits(), random.child(2).uniform(size, -LOGITS, LOGITS));
        }
      }
      return values;
    }

    @Override
    public List<Modification> modifications(MethodTensors tensors, TuningContext context) {
      List<Modification> modifications = new ArrayList<>();
      for (Site site : sites) {
        modifications.add(
            Modification.parallel(site.path(), x -> delta(site, x, tensors, context)));
      }
      return modifications;
    }

    private NDArray delta(Site site, NDArray x, MethodTensors tensors, TuningContext context) {
      float scale = 1f / config.r();
      if (!routes()) {
        NDArray low = x.matMul(tensors.parameter(site.a()));
        return Scalars.times(low.matMul(tensors.parameter(site.b())), scale);
      }
      NDArray w = routing(site, tensors.parameter(site.logits()), context); // [q, batch, s]
      NDArray[] mixed = mixed(site, w, tensors, context);
      return TaskRows.lowRank(site.path(), x, mixed[0], mixed[1], scale);
    }

    /** {@code w} of each example's task, {@code [splits, batch, skills]}. */
    private NDArray routing(Site site, NDArray logits, TuningContext context) {
      ModelInput batch = context.batch();
      int splits = config.nSplits();
      int width = splits * config.nSkills();
      long[] places = new long[batch.size() * width];
      for (int row = 0; row < batch.size(); row++) {
        for (int i = 0; i < width; i++) {
          places[row * width + i] =
              (long) TaskRows.task(batch, row, config.nTasks(), "n_tasks") * width + i;
        }
      }
      NDArray index = context.manager().create(places);
      NDArray rows = logits.flatten().gather(index, 0); // [batch * splits * skills]
      if (context.training() && config.gate().equals("sample")) {
        rows = rows.add(context.manager().create(logistic(site, places.length, context)));
      }
      NDArray z =
          rows.getNDArrayInternal().sigmoid().reshape(batch.size(), splits, config.nSkills());
      NDArray sum = z.sum(new int[] {2}, true).add(context.manager().create(EPSILON));
      return z.div(sum).transpose(1, 0, 2);
    }

    /**
     * Samples of the logistic distribution: a sigmoid makes relaxed Bernoulli variables of them.
     */
    private static float[] logistic(Site site, int size, TuningContext context) {
      Philox random = context.random().child(Philox.hash(site.logits()));
      float[] noise = new float[size];
      for (int i = 0; i < size; i++) {
        double u = Math.max(random.doubleAt(i), 0x1.0p-53);
        noise[i] = (float) (StrictMath.log(u) - StrictMath.log1p(-u));
      }
      return noise;
    }

    /** {@code A_t [batch, in, r]} and {@code B_t [batch, r, out]} of each example. */
    private NDArray[] mixed(Site site, NDArray w, MethodTensors tensors, TuningContext context) {
      int splits = config.nSplits();
      int skills = config.nSkills();
      int r = config.r();
      long batch = w.getShape().get(1);
      int d = site.in() / splits;
      int e = site.out() / splits;
      NDArray a = skills(site.a(), tensors).reshape(splits, skills, (long) d * r);
      NDArray b = skills(site.b(), tensors).reshape(splits, skills, (long) r * e);
      a.attach(context.manager());
      b.attach(context.manager());
      NDArray mixedA = w.matMul(a).reshape(splits, batch, d, r).transpose(1, 0, 2, 3);
      NDArray mixedB = w.matMul(b).reshape(splits, batch, r, e).transpose(1, 2, 0, 3);
      return new NDArray[] {
        mixedA.reshape(new Shape(batch, site.in(), r)),
        mixedB.reshape(new Shape(batch, r, site.out()))
      };
    }

    private NDArray skills(String name, MethodTensors tensors) {
      return skillsAreFrozen() ? tensors.state(name) : tensors.parameter(name);
    }

    @Override
    public Optional<String> whyNotFused() {
      return routes() && config.nTasks() > 1
          ? Optional.of(
              "its effect depends on an example's task, and there are "
                  + config.nTasks()
                  + "; train with n_tasks 1, or collapse it with trainable: average")
          : Optional.empty();
    }

    /** {@code W + (A_0 B_0)t / r}. */
    @Override
    public Map<String, float[]> fuse(
        ParameterVector parameters, MethodState state, BaseWeights base) {
      Map<String, float[]> fused = new LinkedHashMap<>();
      for (Site site : sites) {
        float[] a;
        float[] b;
        if (routes()) {
          double[] w = skills().weights(parameters.tensor(site.logits()));
          a = skills().mixA(w, skills(site.a(), parameters, state));
          b = skills().mixB(w, skills(site.b(), parameters, state));
        } else {
          a = parameters.tensor(site.a());
          b = parameters.tensor(site.b());
        }
        float[] weight = base.tensor(site.path() + ".weight").clone();
        LowRank.add(
            weight,
            LowRank.transposed(a, site.in(), config.r()),
            LowRank.transposed(b, config.r(), site.out()),
            config.r(),
            1f / config.r());
        fused.put(site.path() + ".weight", weight);
      }
      return fused;
    }

    private float[] skills(String name, ParameterVector parameters, MethodState state) {
      return skillsAreFrozen() ? state.floats(name) : parameters.tensor(name);
    }

    // ---------------------------------------------------------------- files

    @Override
    public SortedMap<String, TensorData> save(ParameterVector parameters, MethodState state) {
      List<TensorData> file = new ArrayList<>();
      for (Site site : sites) {
        float[] a;
        float[] b;
        float[] logits;
        if (routes()) {
          a = skills(site.a(), parameters, state);
          b = skills(site.b(), parameters, state);
          logits = parameters.tensor(site.logits());
        } else {
          a = skills().copiesOfA(parameters.tensor(site.a()));
          b = skills().copiesOfB(parameters.tensor(site.b()));
          logits = new float[config.nTasks() * config.nSplits() * config.nSkills()];
        }
        file.add(tensor(site.a(), site.shapeA(config), a));
        file.add(tensor(site.b(), site.shapeB(config), b));
        file.add(tensor(site.logits(), shapeLogits(), logits));
      }
      return TensorData.byName(file);
    }

    private static TensorData tensor(String name, List<Integer> shape, float[] values) {
      return TensorData.ofFloats(AdapterTensors.PREFIX + name, shape, values);
    }

    @Override
    public Loaded load(AdapterTensors file, BaseWeights base) {
      Map<String, float[]> values = new LinkedHashMap<>();
      MethodState.Builder state = new MethodState.Builder();
      for (Site site : sites) {
        float[] a = file.take(AdapterTensors.PREFIX + site.a(), site.shapeA(config)).toFloats();
        float[] b = file.take(AdapterTensors.PREFIX + site.b(), site.shapeB(config)).toFloats();
        float[] logits = file.take(AdapterTensors.PREFIX + site.logits(), shapeLogits()).toFloats();
        if (!routes()) {
          values.put(site.a(), skills().mixA(skills().equal(), a));
          values.put(site.b(), skills().mixB(skills().equal(), b));
          continue;
        }
        values.put(site.logits(), logits);
        if (skillsAreFrozen()) {
          state.floats(site.a(), site.shapeA(config), a).floats(site.b(), site.shapeB(config), b);
        } else {
          values.put(site.a(), a);
          values.put(site.b(), b);
        }
      }
      return new Loaded(values, state.build());
    }
  }
}
