package org.sparkpeft.core.peft.sharing;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.sparkpeft.core.engine.Scalars;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.nn.Linear;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.BaseWeights;
import org.sparkpeft.core.peft.MethodClass;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.MethodTensors;
import org.sparkpeft.core.peft.Modification;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethod;
import org.sparkpeft.core.peft.TargetModules;
import org.sparkpeft.core.peft.TensorRole;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * MoLA, a mixture of LoRA experts with more of them in some layers than in others (Gao et al. 2024,
 * arXiv 2402.08562): {@code y = W x + b + sum_e w_e (alpha / r) B_e A_e dropout(x)} for each token,
 * with a router {@code [E, in]} and experts {@code A [E, r, in]}, {@code B [E, out, r]} of each
 * layer's own. {@code p = softmax(router x)} in float32; w is p of the {@code top_k} largest, of
 * equals those with the lowest number, divided by their sum. The router sees x without dropout.
 *
 * <p>The balance loss of a transformer layer is {@code E sum_e f_e P_e} over the tokens of all its
 * adapted modules together, {@code f_e} the share of choices that fell on expert e and {@code P_e}
 * its mean probability; 1 when routing is uniform. Padding counts in neither.
 *
 * <p>Federated: experts are matched by number from a common start and averaged as factors, each
 * over the clients that routed a token to it; the balance loss keeps routers from drifting apart.
 * So that it shows who did, experts do not decay.
 */
public final class Mola implements PeftMethod<Mola.Config> {
  private static final Pattern LAYER = Pattern.compile("\\.(\\d+)\\.");

  /**
   * Settings.
   *
   * @param r rank of an expert, 1..512
   * @param loraAlpha numerator of the scaling, above 0
   * @param loraDropout probability in [0, 1) of dropping an entry of the experts' input
   * @param experts experts in each module, spread over the layers from the bottom: {@code [2, 4, 6,
   *     8]} gives each quarter of the layers its number. Modules outside the layers take the last
   * @param topK experts that act on a token; all of them where there are fewer
   * @param balanceWeight strength of the balance loss, 0 or above
   * @param targetModules linear layers to act on
   * @param modulesToSave modules trained and saved in full
   */
  public record Config(
      int r,
      double loraAlpha,
      double loraDropout,
      List<Integer> experts,
      int topK,
      double balanceWeight,
      TargetModules targetModules,
      List<String> modulesToSave)
      implements PeftConfig {
    public Config {
      experts = List.copyOf(experts);
      modulesToSave = List.copyOf(modulesToSave);
      Problems problems = new Problems();
      LowRank.checkRank(problems, r);
      LowRank.checkScaling(problems, loraAlpha, loraDropout);
      problems
          .require(
              !experts.isEmpty() && experts.stream().allMatch(n -> n >= 1 && n <= 256),
              "experts",
              experts,
              "must be one or more numbers in 1..256, such as [2, 4, 6, 8]")
          .require(topK >= 1, "top_k", topK, "must be 1 or more; usual is 2")
          .require(
              balanceWeight >= 0 && Double.isFinite(balanceWeight),
              "balance_weight",
              balanceWeight,
              "must be 0 or above; usual is 0.001");
      problems.throwIfAny();
    }

    @Override
    public String peftType() {
      return "MOLA";
    }
  }

  @Override
  public String peftType() {
    return "MOLA";
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
    TargetModules targets = TargetModules.of("query", "value");
    List<Integer> experts = List.of(2, 4, 6, 8);
    return new Config(8, 16, 0, experts, 2, 1e-3, targets, List.of("classifier"));
  }

  @Override
  public AttachedMethod attach(Config config, ModuleTree modules) {
    int layers =
        modules.all().stream().mapToInt(module -> layer(module.path())).max().orElse(-1) + 1;
    List<Site> sites = new ArrayList<>();
    for (ModuleSpec module : LowRank.linears(modules, config.targetModules(), List.of())) {
      int layer = layer(module.path());
      sites.add(new Site(module, experts(config.experts(), layer, layers)));
    }
    return new Attached(config, List.copyOf(sites));
  }

  /** Number of the transformer layer a path is in; -1 outside. */
  private static int layer(String path) {
    Matcher matcher = LAYER.matcher(path);
    int layer = -1;
    while (matcher.find()) {
      layer = Integer.parseInt(matcher.group(1));
    }
    return layer;
  }

  /** The transformer layer a path is in, whose modules are balanced together; itself outside. */
  private static String block(String path) {
    Matcher matcher = LAYER.matcher(path);
    int end = path.length();
    while (matcher.find()) {
      end = matcher.end();
    }
    return path.substring(0, end);
  }

  private static int experts(List<Integer> groups, int layer, int layers) {
    return groups.get(layer < 0 ? groups.size() - 1 : layer * groups.size() / layers);
  }

  private record Site(ModuleSpec module, int experts) {
    String path() {
      return module.path();
    }

    String router() {
      return path() + ".mola_router.weight";
    }

    String a() {
      return path() + ".mola_A";
    }

    String b() {
      return path() + ".mola_B";
    }
  }

  private record Attached(Config config, List<Site> sites) implements AttachedMethod {
    /** The balance of the experts counts all tokens. */
    @Override
    public boolean isTokenwise() {
      return false;
    }

    @Override
    public Map<String, List<Integer>> shapes() {
      Map<String, List<Integer>> shapes = new LinkedHashMap<>();
      for (Site site : sites) {
        int in = site.module().in();
        shapes.put(site.router(), List.of(site.experts(), in));
        shapes.put(site.a(), List.of(site.experts(), config.r(), in));
        shapes.put(site.b(), List.of(site.experts(), site.module().out(), config.r()));
      }
      return shapes;
    }

    @Override
    public TensorRole role(String tensor) {
      return tensor.endsWith(".mola_A") || tensor.endsWith(".mola_B")
          ? TensorRole.FACTOR.bySlices()
          : TensorRole.FACTOR;
    }

    /** Router and A uniform within 1/sqrt(in), B zero. */
    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      Map<String, float[]> values = new LinkedHashMap<>();
      for (Site site : sites) {
        Philox random = Philox.of(seed, "mola", Philox.hash(site.path()));
        int in = site.module().in();
        int e = site.experts();
        values.put(site.router(), LowRank.kaiming(random.child(0), e * in, in));
        values.put(site.a(), LowRank.kaiming(random.child(1), e * config.r() * in, in));
        values.put(site.b(), new float[e * site.module().out() * config.r()]);
      }
      return values;
    }

    @Override
    public List<Modification> modifications(MethodTensors tensors, TuningContext context) {
      Map<String, Balance> balances = new HashMap<>();
      if (context.training() && config.balanceWeight() > 0) {
        for (Site site : sites) {
          balances.computeIfAbsent(block(site.path()), block -> new Balance()).expected++;
        }
      }
      List<Modification> modifications = new ArrayList<>();
      for (Site site : sites) {
        Optional<Balance> balance = Optional.ofNullable(balances.get(block(site.path())));
        modifications.add(
            Modification.parallel(site.path(), x -> delta(site, x, tensors, context, balance)));
      }
      return modifications;
    }

    private NDArray delta(
        Site site,
        NDArray x,
        MethodTensors tensors,
        TuningContext context,
        Optional<Balance> balance) {
      int r = config.r();
      int e = site.experts();
      int in = site.module().in();
      int out = site.module().out();
      NDArray p = Linear.of(x, tensors.parameter(site.router()), null).softmax(-1).reshape(-1, e);
      NDArray chosen = chosen(p.toFloatArray(), e, context.manager()); // [tokens, E]
      NDArray top = p.mul(chosen);
      NDArray w = top.div(top.sum(new int[] {1}, true)); // [tokens, E]
      balance.ifPresent(b -> b.add(site, p, chosen, x.getShape(), context, config));
      NDArray a = tensors.parameter(site.a()).reshape((long) e * r, in);
      NDArray b = tensors.parameter(site.b()).transpose(0, 2, 1).reshape((long) e * r, out);
      NDArray dropped = LowRank.dropped(x, site.path(), config.loraDropout(), context);
      NDArray low = Linear.of(dropped, a, null).reshape(-1, e, r); // [tokens, E, r]
      NDArray mixed = low.mul(w.expandDims(2)).reshape(-1, (long) e * r);
      long[] shape = x.getShape().getShape();
      shape[shape.length - 1] = out;
      float scale = (float) (config.loraAlpha() / r);
      return Scalars.times(mixed, scale).matMul(b).reshape(new Shape(shape)); // [..., out]
    }

    /** 1 for the largest {@code top_k} of each row, of equals the first; else 0. */
    private NDArray chosen(float[] p, int experts, NDManager manager) {
      int k = Math.min(config.topK(), experts);
      float[] mask = new float[p.length];
      for (int row = 0; row < p.length; row += experts) {
        for (int pick = 0; pick < k; pick++) {
          int best = -1;
          for (int i = row; i < row + experts; i++) {
            if (mask[i] == 0 && (best < 0 || p[i] > p[best])) {
              best = i;
            }
          }
          mask[best] = 1;
        }
      }
      return manager.create(mask, new Shape(p.length / experts, experts));
    }

    @Override
    public Optional<String> whyNotFused() {
      return Optional.of("which experts act depends on the token");
    }

    @Override
    public Map<String, float[]> fuse(
        ParameterVector parameters, MethodState state, BaseWeights base) {
      throw new IllegalStateException(whyNotFused().orElseThrow());
    }
  }

  /** Collects the routing of one transformer layer in one step until all its modules have run. */
  private static final class Balance {
    private final List<NDArray> shares = new ArrayList<>();
    private final List<NDArray> means = new ArrayList<>();
    private int expected;

    void add(Site site, NDArray p, NDArray chosen, Shape x, TuningContext context, Config config) {
      NDArray counted = counted(x, context); // [1, tokens]
      shares.add(counted.matMul(chosen));
      means.add(counted.matMul(p));
      if (means.size() < expected) {
        return;
      }
      // Each row of counted sums to 1, so means over modules are means over all their tokens.
      int k = Math.min(config.topK(), site.experts());
      NDArray sum = sum(shares).mul(sum(means)).sum();
      float factor = (float) site.experts() / (k * expected * expected);
      context.addToLoss(Scalars.times(sum, (float) (factor * config.balanceWeight())));
      shares.clear(); // the layer may run again
      means.clear();
    }

    private static NDArray sum(List<NDArray> parts) {
      NDArray sum = parts.get(0);
      for (NDArray part : parts.subList(1, parts.size())) {
        sum = sum.add(part);
      }
      return sum;
    }

    /** For each token its part in a mean over the tokens that are not padding. */
    private static NDArray counted(Shape x, TuningContext context) {
      int rows = (int) x.get(0);
      int width = (int) (x.size() / x.get(x.dimension() - 1)) / rows;
      boolean sequence = x.dimension() == 3 && rows == context.batch().size();
      int inFront = width - context.batch().width(); // virtual tokens
      float[] counted = new float[rows * width];
      int total = 0;
      for (int row = 0; row < rows; row++) {
        int length = sequence ? inFront + context.batch().length(row) : width;
        java.util.Arrays.fill(counted, row * width, row * width + length, 1);
        total += length;
      }
      for (int i = 0; i < counted.length; i++) {
        counted[i] /= total;
      }
      return context.manager().create(counted, new Shape(1, counted.length));
    }
  }
}
