package org.sparkpeft.core.peft.sparse;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.SortedMap;
import java.util.function.IntPredicate;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.model.LayerPaths;
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
import org.sparkpeft.core.peft.RoundDecision;
import org.sparkpeft.core.peft.StepObserver;
import org.sparkpeft.core.peft.TensorRole;
import org.sparkpeft.core.peft.TrainingSpan;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * Half fine-tuning (Hui et al. 2024, arXiv 2404.18466): of the weights of each category - attention
 * projections, feed-forward layers, norms - a random half is trained in a stage and the rest stays
 * as it is. Of an odd number in a layer, every other layer trains one more. What is trained is the
 * difference to the base, {@code W + D}. Embeddings are always trained, unless switched off.
 *
 * <p>A stage is a round of a federation (the driver draws, so all clients train the same half), or
 * a part of a training alone. Details of the categories follow a summary of the paper [unverified].
 */
public final class Hft implements PeftMethod<Hft.Config> {

  /**
   * @param stages draws in a training that is not part of a federation, 1..10000
   * @param trainEmbeddings whether embedding tables are trained
   * @param modulesToSave modules trained in full
   */
  public record Config(int stages, boolean trainEmbeddings, List<String> modulesToSave)
      implements PeftConfig {
    public Config {
      modulesToSave = List.copyOf(modulesToSave);
      new Problems()
          .require(stages >= 1 && stages <= 10_000, "stages", stages, "must be 1..10000")
          .throwIfAny();
    }

    @Override
    public String peftType() {
      return "HFT";
    }
  }

  @Override
  public String peftType() {
    return "HFT";
  }

  @Override
  public Class<Config> configType() {
    return Config.class;
  }

  @Override
  public MethodClass methodClass() {
    return MethodClass.SELECTIVE;
  }

  @Override
  public double usualRate() {
    return 0.1;
  }

  /** One draw, embeddings trained. */
  @Override
  public Config defaults() {
    return new Config(1, true, List.of("classifier"));
  }

  /** For each category and layer, the paths in it. */
  private static List<List<List<String>>> categories(List<LayerPaths> layers) {
    List<List<String>> attention = new ArrayList<>();
    List<List<String>> feedForward = new ArrayList<>();
    List<List<String>> norms = new ArrayList<>();
    for (LayerPaths l : layers) {
      attention.add(List.of(l.query(), l.key(), l.value(), l.attentionOutput()));
      feedForward.add(List.of(l.intermediate(), l.output()));
      norms.add(List.of(l.attentionNorm(), l.outputNorm()));
    }
    return List.of(attention, feedForward, norms);
  }

  @Override
  public AttachedMethod attach(Config config, ModuleTree modules) {
    List<List<List<String>>> categories =
        categories(Checks.structure(modules, peftType()).layers());
    Set<String> members = new HashSet<>();
    categories.forEach(category -> category.forEach(members::addAll));
    List<ModuleSpec> trained = new ArrayList<>();
    for (ModuleSpec module : modules.all()) {
      boolean table = module.kind() == ModuleSpec.Kind.EMBEDDING && config.trainEmbeddings();
      if (members.contains(module.path()) || table) {
        trained.add(module);
      }
    }
    return new Attached(config, new DenseDelta(trained), categories);
  }

  /**
   * Members of a category that are trained.
   *
   * @param layers the category's members in each layer
   */
  static Set<String> half(List<List<String>> layers, Philox random) {
    Set<String> trained = new HashSet<>();
    int parity = random.intAt(0) & 1;
    for (int l = 0; l < layers.size(); l++) {
      List<String> members = layers.get(l);
      int odd = members.size() % 2 == 1 && (l + parity) % 2 == 0 ? 1 : 0;
      int[] order = random.child(l).permutation(members.size());
      for (int i = 0; i < members.size() / 2 + odd; i++) {
        trained.add(members.get(order[i]));
      }
    }
    return trained;
  }

  private record Attached(Config config, DenseDelta delta, List<List<List<String>>> categories)
      implements AttachedMethod {

    @Override
    public Map<String, List<Integer>> shapes() {
      return delta.shapes();
    }

    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      return delta.zeros();
    }

    @Override
    public TensorRole role(String tensor) {
      return TensorRole.LINEAR;
    }

    @Override
    public Map<String, float[]> fuse(
        ParameterVector parameters, MethodState state, BaseWeights base) {
      return delta.fuse(parameters, base);
    }

    /** Paths that a draw leaves out. */
    private Set<String> resting(Draw draw) {
      Set<String> resting = new HashSet<>();
      for (int c = 0; c < categories.size(); c++) {
        List<List<String>> category = categories.get(c);
        category.forEach(resting::addAll);
        resting.removeAll(half(category, draw.random("hft").child(c)));
      }
      return resting;
    }

    @Override
    public MethodState initialState(long seed, BaseWeights base) {
      return new Draw(seed, 0).state();
    }

    @Override
    public List<Modification> modifications(MethodTensors tensors, TuningContext context) {
      Set<String> resting = resting(Draw.of(tensors));
      return delta.modifications(tensors, module -> !resting.contains(module.path()));
    }

    private Set<String> held(Draw draw) {
      Set<String> resting = resting(draw);
      Set<String> held = new HashSet<>();
      for (ModuleSpec module : delta.modules()) {
        if (resting.contains(module.path())) {
          held.addAll(DenseDelta.names(module));
        }
      }
      return held;
    }

    @Override
    public StepObserver observer(MethodState state, TrainingSpan span, ParameterLayout layout) {
      IntPredicate redraws =
          span.alone()
              ? completed ->
                  completed < span.updates() && stage(completed, span) != stage(completed - 1, span)
              : completed -> false;
      return new HeldTensors(this::held, redraws, state);
    }

    @Override
    public RoundDecision.Output decide(MethodState state, RoundDecision.Input input) {
      return new RoundDecision.Output(Draw.of(state).next().state(), input.parameters());
    }

    @Override
    public SortedMap<String, TensorData> save(ParameterVector parameters, MethodState state) {
      return Draw.save(AttachedMethod.super.save(parameters, state), state);
    }

    @Override
    public Loaded load(AdapterTensors file, BaseWeights base) {
      return new Loaded(file.takeAll(shapes()), Draw.load(file));
    }

    private long stage(int update, TrainingSpan span) {
      return (long) update * config.stages() / span.updates();
    }
  }
}
