package org.sparkpeft.core.peft.sharing;

import ai.djl.ndarray.NDArray;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.core.engine.Scalars;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.io.TensorData;
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
import org.sparkpeft.core.peft.StepObserver;
import org.sparkpeft.core.peft.TargetModules;
import org.sparkpeft.core.peft.TensorRole;
import org.sparkpeft.core.peft.TrainingSpan;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * S2-LoRA, sparsely shared LoRA (Liu et al. 2023, arXiv 2309.11756): {@code y = W_k x + b + B
 * diag(e_k) A x}, one pair {@code A [r, in]}, {@code B [out, r]} for all adapted layers of one
 * shape, and a vector {@code e_k [r]} for each layer that {@code l1_weight sum |e_k|}, added to the
 * loss, makes sparse. There is no alpha.
 *
 * <p>Where the paper leaves the form open: layers of another shape have another pair; A and B start
 * from N(0, 0.02) and e at zero, so that nothing changes at the start and e learns first;
 * coefficients below {@code threshold} count as zero in inference, export and fusing, not in
 * training and averaging, since clients' zeros differ.
 *
 * <p>Federated: with A and B held, which {@code freeze_factors_after} does, the effect is linear in
 * e, so that averaging is exact and the update is r numbers a layer; before, it is that of factors.
 */
public final class S2Lora implements PeftMethod<S2Lora.Config> {
  private static final double DEVIATION = 0.02;

  /**
   * Settings.
   *
   * @param r rank, 1..512
   * @param l1Weight strength of the penalty on the coefficients, 0 or above
   * @param threshold coefficients nearer to 0 count as 0 when training is over, 0 or above
   * @param freezeFactorsAfter share of the training, in (0, 1], after which A and B stay as they
   *     are; 1 means never
   * @param targetModules linear layers to act on
   * @param modulesToSave modules trained and saved in full
   * @param saveAs {@code own}: shared factors and coefficients; {@code lora}: an ordinary LoRA with
   *     {@code A} and {@code B diag(e)} in each layer
   */
  public record Config(
      int r,
      double l1Weight,
      double threshold,
      double freezeFactorsAfter,
      TargetModules targetModules,
      List<String> modulesToSave,
      String saveAs)
      implements PeftConfig {
    public Config {
      modulesToSave = List.copyOf(modulesToSave);
      Problems problems = new Problems();
      LowRank.checkRank(problems, r);
      LoraFile.check(problems, saveAs);
      problems
          .require(
              l1Weight >= 0 && Double.isFinite(l1Weight),
              "l1_weight",
              l1Weight,
              "must be 0 or above; usual is 1e-5..1e-3")
          .require(
              threshold >= 0 && Double.isFinite(threshold),
              "threshold",
              threshold,
              "must be 0 or above")
          .require(
              freezeFactorsAfter > 0 && freezeFactorsAfter <= 1,
              "freeze_factors_after",
              freezeFactorsAfter,
              "must be in (0, 1]; at 0 the coefficients would learn on random factors");
      problems.throwIfAny();
    }

    @Override
    public String peftType() {
      return "S2_LORA";
    }
  }

  @Override
  public String peftType() {
    return "S2_LORA";
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
    return new Config(32, 1e-4, 0, 1, targets, List.of("classifier"), "own");
  }

  @Override
  public AttachedMethod attach(Config config, ModuleTree modules) {
    return new Attached(
        config, List.copyOf(LowRank.linears(modules, config.targetModules(), List.of())));
  }

  private static String shape(ModuleSpec module) {
    return module.out() + "x" + module.in();
  }

  private static String a(ModuleSpec module) {
    return "s2_lora_A." + shape(module);
  }

  private static String b(ModuleSpec module) {
    return "s2_lora_B." + shape(module);
  }

  private static String e(ModuleSpec module) {
    return module.path() + ".s2_lora_E";
  }

  private static boolean isFactor(String tensor) {
    return tensor.startsWith("s2_lora_");
  }

  private record Attached(Config config, List<ModuleSpec> sites) implements AttachedMethod {
    @Override
    public Map<String, List<Integer>> shapes() {
      Map<String, List<Integer>> shapes = new LinkedHashMap<>();
      for (ModuleSpec site : sites) {
        shapes.put(a(site), List.of(config.r(), site.in()));
        shapes.put(b(site), List.of(site.out(), config.r()));
        shapes.put(e(site), List.of(config.r()));
      }
      return shapes;
    }

    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      Map<String, float[]> values = new LinkedHashMap<>();
      for (ModuleSpec site : sites) {
        Philox random = Philox.of(seed, "s2-lora", Philox.hash(shape(site)));
        values.computeIfAbsent(
            a(site), name -> random.child(0).gaussian(config.r() * site.in(), DEVIATION));
        values.computeIfAbsent(
            b(site), name -> random.child(1).gaussian(config.r() * site.out(), DEVIATION));
        values.put(e(site), new float[config.r()]);
      }
      return values;
    }

    @Override
    public TensorRole role(String tensor) {
      // The penalty is what shrinks coefficients.
      return isFactor(tensor) ? TensorRole.FACTOR : TensorRole.FACTOR.undecayed();
    }

    @Override
    public List<Modification> modifications(MethodTensors tensors, TuningContext context) {
      List<Modification> modifications = new ArrayList<>();
      for (ModuleSpec site : sites) {
        NDArray a = tensors.parameter(a(site));
        NDArray b = tensors.parameter(b(site));
        NDArray e = tensors.parameter(e(site));
        if (context.training() && config.l1Weight() > 0) {
          context.addToLoss(Scalars.times(e.abs().sum(), (float) config.l1Weight()));
        }
        NDArray kept = context.training() ? e : kept(e);
        modifications.add(
            Modification.parallel(
                site.path(), x -> Linear.of(Linear.of(x, a, null).mul(kept), b, null)));
      }
      return modifications;
    }

    private NDArray kept(NDArray e) {
      float[] values = e.toFloatArray();
      kept(values);
      return e.getManager().create(values);
    }

    private float[] kept(float[] values) {
      for (int i = 0; i < values.length; i++) {
        values[i] = Math.abs(values[i]) < config.threshold() ? 0 : values[i];
      }
      return values;
    }

    @Override
    public StepObserver observer(MethodState state, TrainingSpan span, ParameterLayout layout) {
      return config.freezeFactorsAfter() < 1
          ? new HeldFactors(config.freezeFactorsAfter(), span, layout)
          : StepObserver.NONE;
    }

    /** {@code B diag(e)}, {@code [out, r]}, without what counts as zero. */
    private float[] scaledB(ModuleSpec site, ParameterVector parameters) {
      float[] b = parameters.tensor(b(site)).clone();
      float[] e = kept(parameters.tensor(e(site)).clone());
      for (int i = 0; i < b.length; i++) {
        b[i] *= e[i % config.r()];
      }
      return b;
    }

    /** {@code W + B diag(e) A}. */
    @Override
    public Map<String, float[]> fuse(
        ParameterVector parameters, MethodState state, BaseWeights base) {
      Map<String, float[]> fused = new LinkedHashMap<>();
      for (ModuleSpec site : sites) {
        float[] weight = base.tensor(site.path() + ".weight").clone();
        LowRank.add(weight, parameters.tensor(a(site)), scaledB(site, parameters), config.r(), 1);
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
        return AttachedMethod.super.save(parameters, state);
      }
      LoraFile file = new LoraFile();
      for (ModuleSpec site : sites) {
        float[] a = parameters.tensor(a(site));
        file.add(site.path(), a, scaledB(site, parameters), config.r());
      }
      return file.tensors();
    }

    @Override
    public SortedMap<String, Object> savedFields(MethodState state) {
      return expands()
          ? LoraFile.fields(config, config.r(), config.r(), config.targetModules())
          : new TreeMap<>();
    }
  }

  /** Keeps A and B as they are from a share of the training on. */
  private static final class HeldFactors implements StepObserver {
    private final double after;
    private final TrainingSpan span;
    private final List<ParameterLayout.Entry> factors;
    private final Map<ParameterLayout.Entry, float[]> held = new HashMap<>();

    HeldFactors(double after, TrainingSpan span, ParameterLayout layout) {
      this.after = after;
      this.span = span;
      this.factors = layout.entries().stream().filter(entry -> isFactor(entry.name())).toList();
    }

    @Override
    public void beforeStep(Update update) {
      double length = span.progressEnd() - span.progressStart();
      if (span.progressStart() + length * update.update() / span.updates() < after) {
        return;
      }
      for (ParameterLayout.Entry entry : factors) {
        held.computeIfAbsent(
            entry, key -> Arrays.copyOfRange(update.parameters(), entry.offset(), entry.end()));
      }
    }

    @Override
    public Optional<MethodState> afterStep(Update update) {
      held.forEach(
          (entry, values) ->
              System.arraycopy(values, 0, update.parameters(), entry.offset(), values.length));
      return Optional.empty();
    }
  }
}
