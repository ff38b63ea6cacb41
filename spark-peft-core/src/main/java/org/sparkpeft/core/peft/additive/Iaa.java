package org.sparkpeft.core.peft.additive;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.types.Shape;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.model.LayerPaths;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.nn.Activation;
import org.sparkpeft.core.nn.LayerNorm;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.BaseWeights;
import org.sparkpeft.core.peft.Insertion;
import org.sparkpeft.core.peft.MethodClass;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.MethodTensors;
import org.sparkpeft.core.peft.Modification;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethod;
import org.sparkpeft.core.peft.TensorRole;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * IAA, connected modules for retrieval (Ma et al. 2022, "Scattered or Connected?"): what is trained
 * forms one path beside the frozen layers. Experimental: only the idea is theirs, the structure is
 * a design of our own. For layer i with output h_i, both {@code [batch, seq, hidden]}: {@code a_i =
 * a_(i-1) + W_u f(W_d LN(h_i + a_(i-1)))}, {@code h_i <- h_i + g_i a_i}; {@code a_0} is a
 * projection, through as many units, of what enters the first layer; LN has no parameters of its
 * own. The gates g start at zero, so the model is unchanged, and are averaged directly; the rest
 * averages as factors do.
 */
public final class Iaa implements PeftMethod<Iaa.Config> {

  /**
   * Settings.
   *
   * @param reductionFactor the hidden size divided by this is a module's number of hidden units
   * @param nonLinearity name of the function between a module's layers
   * @param modulesToSave modules trained and saved in full
   */
  public record Config(int reductionFactor, String nonLinearity, List<String> modulesToSave)
      implements PeftConfig {

    public Config {
      modulesToSave = List.copyOf(modulesToSave);
      new Problems()
          .require(
              reductionFactor >= 1,
              "reduction_factor",
              reductionFactor,
              "must be 1 or more; usual 16")
          .require(
              Activation.named(nonLinearity).isPresent(),
              "non_linearity",
              nonLinearity,
              "must be one of " + Activation.names())
          .throwIfAny();
    }

    @Override
    public String peftType() {
      return "IAA";
    }
  }

  @Override
  public String peftType() {
    return "IAA";
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
    return new Config(16, "gelu", List.of("classifier"));
  }

  @Override
  public AttachedMethod attach(Config config, ModuleTree modules) {
    ModuleTree.Structure structure = VirtualTokens.structure(modules, peftType());
    int hidden = structure.hidden();
    int size = Math.max(1, hidden / config.reductionFactor());
    return new Attached(
        structure.layers().get(0),
        new Bottleneck("iaa_entry", hidden, size),
        structure.layers().stream().map(l -> new Bottleneck(l.output(), hidden, size)).toList(),
        Activation.named(config.nonLinearity()).orElseThrow());
  }

  private record Attached(
      LayerPaths first, Bottleneck entry, List<Bottleneck> path, Activation activation)
      implements AttachedMethod {
    private static final float EPSILON = 1e-5f;

    private static String gate(Bottleneck module) {
      return module.path() + ".iaa_gate";
    }

    /** Hands states of all tokens from one layer to the next. */
    @Override
    public boolean isTokenwise() {
      return false;
    }

    @Override
    public Map<String, List<Integer>> shapes() {
      Map<String, List<Integer>> shapes = new LinkedHashMap<>(entry.shapes());
      for (Bottleneck module : path) {
        shapes.putAll(module.shapes());
        shapes.put(gate(module), List.of(1));
      }
      return shapes;
    }

    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      Map<String, float[]> values = new LinkedHashMap<>(entry.initialValues(seed, Bottleneck.OPEN));
      for (Bottleneck module : path) {
        values.putAll(module.initialValues(seed, Bottleneck.OPEN));
        values.put(gate(module), new float[1]);
      }
      return values;
    }

    /** One pass: the path's value is carried from layer to layer. */
    @Override
    public List<Modification> modifications(MethodTensors tensors, TuningContext context) {
      NDArray[] carried = new NDArray[1];
      List<Modification> modifications = new ArrayList<>();
      modifications.add(
          new Modification.OnResidual(
              first.attentionOutput(),
              Insertion.PARALLEL,
              (below, x, f) -> {
                carry(carried, entry.apply(tensors, low -> low, x), context);
                return below.apply(x, f);
              }));
      for (Bottleneck module : path) {
        modifications.add(
            new Modification.OnResidual(
                module.path(),
                Insertion.PARALLEL,
                (below, x, f) -> {
                  NDArray h = below.apply(x, f);
                  NDArray read = normed(h.add(carried[0]));
                  NDArray more = module.apply(tensors, activation::apply, read);
                  carry(carried, carried[0].add(more), context);
                  return h.add(carried[0].mul(tensors.parameter(gate(module))));
                }));
      }
      return modifications;
    }

    /** A layer's tensors end with the layer, the path's value goes on. */
    private static void carry(NDArray[] carried, NDArray value, TuningContext context) {
      value.attach(context.manager());
      carried[0] = value;
    }

    @Override
    public Optional<String> whyNotRecomputed() {
      return Optional.of("its path goes from layer to layer beside the model's own stream");
    }

    private static NDArray normed(NDArray x) {
      Shape size = new Shape(x.getShape().get(x.getShape().dimension() - 1));
      return LayerNorm.of(x, x.getManager().ones(size), x.getManager().zeros(size), EPSILON);
    }

    @Override
    public TensorRole role(String tensor) {
      return tensor.endsWith(".iaa_gate") ? TensorRole.LINEAR.undecayed() : TensorRole.FACTOR;
    }

    @Override
    public Optional<String> whyNotFused() {
      return Optional.of("the path beside the layers is not linear");
    }

    @Override
    public Map<String, float[]> fuse(
        ParameterVector parameters, MethodState state, BaseWeights base) {
      throw new IllegalStateException(whyNotFused().orElseThrow());
    }
  }
}
