package org.sparkpeft.core.peft.sparse;

import java.util.ArrayList;
import java.util.Arrays;
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
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * LISA, layer-wise importance sampling (Pan et al. 2024, arXiv 2403.17919): every {@code
 * lisa_interval_steps} updates, the first included, {@code lisa_activated_layers} random layers are
 * chosen; they are trained in full, the other layers stay as they are. What lies outside the
 * layers, embeddings above all, is always trained, and so are {@code modules_to_save}. What is
 * trained is the difference to the base, {@code W + D}; Adam starts anew in layers that come in.
 *
 * <p>In a federation the driver draws the layers of each round, so an update holds few of them.
 */
public final class Lisa implements PeftMethod<Lisa.Config> {

  /**
   * @param lisaActivatedLayers layers trained at a time; all if there are fewer
   * @param lisaIntervalSteps updates between draws in a training that is not part of a federation
   * @param trainEmbeddings whether what lies outside the layers is trained
   * @param modulesToSave modules trained in full throughout
   */
  public record Config(
      int lisaActivatedLayers,
      int lisaIntervalSteps,
      boolean trainEmbeddings,
      List<String> modulesToSave)
      implements PeftConfig {
    public Config {
      modulesToSave = List.copyOf(modulesToSave);
      new Problems()
          .require(
              lisaActivatedLayers >= 1,
              "lisa_activated_layers",
              lisaActivatedLayers,
              "must be at least 1; 2 is usual")
          .require(
              lisaIntervalSteps >= 1,
              "lisa_interval_steps",
              lisaIntervalSteps,
              "must be at least 1; 20 is usual")
          .throwIfAny();
    }

    @Override
    public String peftType() {
      return "LISA";
    }
  }

  @Override
  public String peftType() {
    return "LISA";
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

  /** Two layers for 20 updates at a time. */
  @Override
  public Config defaults() {
    return new Config(2, 20, true, List.of("classifier"));
  }

  private static List<String> members(LayerPaths l) {
    return List.of(
        l.query(),
        l.key(),
        l.value(),
        l.attentionOutput(),
        l.attentionNorm(),
        l.intermediate(),
        l.output(),
        l.outputNorm());
  }

  @Override
  public AttachedMethod attach(Config config, ModuleTree modules) {
    List<List<String>> layers =
        Checks.structure(modules, peftType()).layers().stream().map(Lisa::members).toList();
    Set<String> inLayers = new HashSet<>();
    layers.forEach(inLayers::addAll);
    List<ModuleSpec> trained = new ArrayList<>();
    for (ModuleSpec module : modules.all()) {
      boolean around = config.trainEmbeddings() && !module.isHead();
      if (inLayers.contains(module.path()) || around) {
        trained.add(module);
      }
    }
    return new Attached(config, new DenseDelta(trained), layers);
  }

  /** Numbers of the layers that a draw trains. */
  static int[] active(Draw draw, int layers, int number) {
    int[] order = draw.random("lisa").permutation(layers);
    int[] active = Arrays.copyOf(order, Math.min(number, layers));
    Arrays.sort(active);
    return active;
  }

  private record Attached(Config config, DenseDelta delta, List<List<String>> layers)
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
      layers.forEach(resting::addAll);
      for (int layer : active(draw, layers.size(), config.lisaActivatedLayers())) {
        layers.get(layer).forEach(resting::remove);
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
              ? completed -> completed % config.lisaIntervalSteps() == 0
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
  }
}
