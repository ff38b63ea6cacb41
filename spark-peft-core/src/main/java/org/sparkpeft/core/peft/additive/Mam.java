package org.sparkpeft.core.peft.additive;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.nn.Activation;
import org.sparkpeft.core.peft.AdapterTensors;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.BaseWeights;
import org.sparkpeft.core.peft.MethodClass;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.MethodTensors;
import org.sparkpeft.core.peft.Modification;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethod;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * Mix-and-match adapter (He et al. 2021, arXiv 2110.04366): a prefix of few vectors in every
 * attention block and a scaled parallel adapter on every feed-forward block; see {@link
 * PrefixTuning} and {@link ParallelAdapter}. Defaults are those for GLUE. Averages as its parts do.
 */
public final class Mam implements PeftMethod<Mam.Config> {

  /**
   * Settings.
   *
   * @param numVirtualTokens length of the prefix
   * @param prefixProjection compute the prefix by a network
   * @param encoderHiddenSize width of that network; 0 means the model's hidden size
   * @param bottleneckSize hidden units of an adapter, 1..65536
   * @param nonLinearity name of the function between an adapter's layers
   * @param scaling factor on an adapter's output
   * @param modulesToSave modules trained and saved in full
   */
  public record Config(
      int numVirtualTokens,
      boolean prefixProjection,
      int encoderHiddenSize,
      int bottleneckSize,
      String nonLinearity,
      double scaling,
      List<String> modulesToSave)
      implements PeftConfig {

    public Config {
      modulesToSave = List.copyOf(modulesToSave);
      Problems problems = new Problems();
      problems.require(
          bottleneckSize >= 1 && bottleneckSize <= 65536,
          "bottleneck_size",
          bottleneckSize,
          "must be 1..65536");
      problems.require(
          Activation.named(nonLinearity).isPresent(),
          "non_linearity",
          nonLinearity,
          "must be one of " + Activation.names());
      problems.require(
          Double.isFinite(scaling) && scaling != 0, "scaling", scaling, "must be a number but 0");
      VirtualTokens.check(problems, numVirtualTokens)
          .require(
              encoderHiddenSize >= 0 && encoderHiddenSize <= 65536,
              "encoder_hidden_size",
              encoderHiddenSize,
              "must be 1..65536, or 0 for the model's own size")
          .throwIfAny();
    }

    @Override
    public String peftType() {
      return "MAM";
    }
  }

  @Override
  public String peftType() {
    return "MAM";
  }

  @Override
  public Class<Config> configType() {
    return Config.class;
  }

  @Override
  public MethodClass methodClass() {
    return MethodClass.ADDITIVE;
  }

  @Override
  public Config defaults() {
    return new Config(16, false, 0, 16, "relu", 2, List.of("classifier"));
  }

  @Override
  public AttachedMethod attach(Config config, ModuleTree modules) {
    ModuleTree.Structure structure = VirtualTokens.structure(modules, peftType());
    PrefixTuning.Config prefix =
        new PrefixTuning.Config(
            config.numVirtualTokens(),
            config.prefixProjection(),
            config.encoderHiddenSize(),
            "",
            List.of());
    List<Bottleneck> sites =
        structure.layers().stream()
            .map(l -> new Bottleneck(l.output(), structure.hidden(), config.bottleneckSize()))
            .toList();
    return new Attached(
        new PrefixTuning().attach(prefix, modules),
        new BottleneckMethod.Attached(
            sites,
            BottleneckMethod.Placement.FEED_FORWARD_PARALLEL,
            new BottleneckConfig(
                peftType(),
                1,
                config.nonLinearity(),
                config.scaling(),
                "lora",
                0,
                List.of(),
                List.of())));
  }

  private record Attached(AttachedMethod prefix, AttachedMethod adapters)
      implements AttachedMethod {
    @Override
    public boolean startsAsBase() {
      return false;
    }

    @Override
    public Map<String, List<Integer>> shapes() {
      Map<String, List<Integer>> shapes = new LinkedHashMap<>(prefix.shapes());
      shapes.putAll(adapters.shapes());
      return shapes;
    }

    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      Map<String, float[]> values = new LinkedHashMap<>(prefix.initialValues(seed, state, base));
      values.putAll(adapters.initialValues(seed, state, base));
      return values;
    }

    @Override
    public List<Modification> modifications(MethodTensors tensors, TuningContext context) {
      List<Modification> all = new ArrayList<>(prefix.modifications(tensors, context));
      all.addAll(adapters.modifications(tensors, context));
      return all;
    }

    @Override
    public int virtualTokens() {
      return prefix.virtualTokens();
    }

    @Override
    public SortedMap<String, TensorData> save(ParameterVector parameters, MethodState state) {
      SortedMap<String, TensorData> file = new TreeMap<>(prefix.save(parameters, state));
      file.putAll(adapters.save(parameters, state));
      return file;
    }

    @Override
    public Loaded load(AdapterTensors file, BaseWeights base) {
      Loaded vectors = prefix.load(file, base);
      Map<String, float[]> values = new LinkedHashMap<>(vectors.values());
      values.putAll(adapters.load(file, base).values());
      return new Loaded(values, vectors.state());
    }

    @Override
    public Optional<String> whyNotFused() {
      return prefix.whyNotFused();
    }

    @Override
    public Map<String, float[]> fuse(
        ParameterVector parameters, MethodState state, BaseWeights base) {
      return prefix.fuse(parameters, state, base);
    }
  }
}
