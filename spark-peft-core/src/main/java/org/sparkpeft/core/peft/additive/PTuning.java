package org.sparkpeft.core.peft.additive;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.types.Shape;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.SortedMap;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.nn.Activation;
import org.sparkpeft.core.nn.Linear;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.BaseWeights;
import org.sparkpeft.core.peft.Dropout;
import org.sparkpeft.core.peft.MethodClass;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.MethodTensors;
import org.sparkpeft.core.peft.Modification;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethod;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;

/**
 * P-tuning (Liu et al. 2021, arXiv 2103.10385): virtual tokens {@code [n, hidden]} in front of the
 * word embeddings, computed from an embedding {@code [n, hidden]} by three linear layers with ReLU
 * between, or by a bidirectional LSTM and two linear layers. Clients average the network's tensors,
 * an approximation.
 */
public final class PTuning implements PeftMethod<PTuning.Config> {

  /**
   * Settings.
   *
   * @param numVirtualTokens n
   * @param encoderReparameterizationType {@code MLP} or {@code LSTM}
   * @param encoderHiddenSize width of the encoder; 0 means the model's hidden size
   * @param encoderNumLayers layers of the LSTM; the MLP always has three, as in Hugging Face PEFT
   * @param encoderDropout probability in [0, 1) of dropping an entry between LSTM layers while
   *     training
   * @param modulesToSave modules trained and saved in full
   */
  public record Config(
      int numVirtualTokens,
      String encoderReparameterizationType,
      int encoderHiddenSize,
      int encoderNumLayers,
      double encoderDropout,
      List<String> modulesToSave)
      implements PeftConfig {

    public Config {
      modulesToSave = List.copyOf(modulesToSave);
      VirtualTokens.check(new Problems(), numVirtualTokens)
          .require(
              List.of("MLP", "LSTM").contains(encoderReparameterizationType),
              "encoder_reparameterization_type",
              encoderReparameterizationType,
              "must be MLP or LSTM")
          .require(
              encoderHiddenSize >= 0 && encoderHiddenSize <= 65536,
              "encoder_hidden_size",
              encoderHiddenSize,
              "must be 1..65536, or 0 for the model's own size")
          .require(
              encoderNumLayers >= 1 && encoderNumLayers <= 64,
              "encoder_num_layers",
              encoderNumLayers,
              "must be 1..64")
          .require(
              encoderDropout >= 0 && encoderDropout < 1,
              "encoder_dropout",
              encoderDropout,
              "must be in [0, 1)")
          .throwIfAny();
    }

    @Override
    public String peftType() {
      return "P_TUNING";
    }

    boolean isLstm() {
      return encoderReparameterizationType.equals("LSTM");
    }
  }

  @Override
  public String peftType() {
    return "P_TUNING";
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
  public double usualRate() {
    return 3;
  }

  @Override
  public Config defaults() {
    return new Config(16, "MLP", 128, 2, 0, List.of("classifier"));
  }

  @Override
  public Config fileDefaults() {
    return new Config(16, "MLP", 0, 2, 0, List.of());
  }

  @Override
  public Config readConfig(Map<String, Object> fields) {
    return PeftMethod.super.readConfig(VirtualTokens.withoutSizes(fields));
  }

  @Override
  public AttachedMethod attach(Config config, ModuleTree modules) {
    return new Attached(config, VirtualTokens.structure(modules, peftType()));
  }

  private static final class Attached extends EncodedVectors {
    private static final String TOKENS = ENCODER + "embedding.weight";
    private static final String MLP = ENCODER + "mlp_head.";
    private static final String LSTM = ENCODER + "lstm_head.";
    private static final List<String> DIRECTIONS = List.of("", "_reverse");

    private final Config config;
    private final ModuleTree.Structure structure;
    private final int width;

    Attached(Config config, ModuleTree.Structure structure) {
      this.config = config;
      this.structure = structure;
      this.width =
          config.encoderHiddenSize() == 0 ? structure.hidden() : config.encoderHiddenSize();
    }

    @Override
    List<Integer> outputShape() {
      return List.of(config.numVirtualTokens(), structure.hidden());
    }

    @Override
    public Map<String, List<Integer>> shapes() {
      int hidden = structure.hidden();
      Map<String, List<Integer>> shapes = new LinkedHashMap<>();
      shapes.put(TOKENS, outputShape());
      if (config.isLstm()) {
        for (int layer = 0; layer < config.encoderNumLayers(); layer++) {
          for (String direction : DIRECTIONS) {
            String end = "_l" + layer + direction;
            int in = layer == 0 ? hidden : 2 * width;
            shapes.put(LSTM + "weight_ih" + end, List.of(4 * width, in));
            shapes.put(LSTM + "weight_hh" + end, List.of(4 * width, width));
            shapes.put(LSTM + "bias_ih" + end, List.of(4 * width));
            shapes.put(LSTM + "bias_hh" + end, List.of(4 * width));
          }
        }
        linear(shapes, 0, 2 * width, 2 * width);
        linear(shapes, 2, 2 * width, hidden);
      } else {
        linear(shapes, 0, hidden, width);
        linear(shapes, 2, width, width);
        linear(shapes, 4, width, hidden);
      }
      return shapes;
    }

    private static void linear(Map<String, List<Integer>> shapes, int place, int in, int out) {
      shapes.put(MLP + place + ".weight", List.of(out, in));
      shapes.put(MLP + place + ".bias", List.of(out));
    }

    /** As PyTorch starts such layers; the embedding standard normal. */
    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      Map<String, List<Integer>> shapes = shapes();
      Map<String, float[]> values = new LinkedHashMap<>();
      shapes.forEach(
          (name, shape) -> {
            int size = shape.stream().reduce(1, Math::multiplyExact);
            Philox random = Philox.of(seed, "p-tuning", Philox.hash(name));
            if (name.equals(TOKENS)) {
              values.put(name, random.gaussian(size, 1));
            } else if (name.startsWith(LSTM)) {
              values.put(name, VirtualTokens.uniform(random, size, width));
            } else {
              List<Integer> weight =
                  Objects.requireNonNull(shapes.get(name.replace(".bias", ".weight")));
              values.put(name, VirtualTokens.uniform(random, size, weight.get(1)));
            }
          });
      return values;
    }

    @Override
    NDArray encode(MethodTensors tensors, TuningContext context) {
      NDArray x = tensors.parameter(TOKENS); // [n, hidden]
      if (config.isLstm()) {
        x = lstm(x.expandDims(0), tensors, context).squeeze(0); // [n, 2 width]
        return layer(2, Activation.RELU.apply(layer(0, x, tensors)), tensors);
      }
      x = Activation.RELU.apply(layer(0, x, tensors));
      x = Activation.RELU.apply(layer(2, x, tensors));
      return layer(4, x, tensors);
    }

    private static NDArray layer(int place, NDArray x, MethodTensors tensors) {
      return Linear.of(
          x, tensors.parameter(MLP + place + ".weight"), tensors.parameter(MLP + place + ".bias"));
    }

    /** {@code [1, n, hidden]} to {@code [1, n, 2 width]}. */
    private NDArray lstm(NDArray x, MethodTensors tensors, TuningContext context) {
      for (int layer = 0; layer < config.encoderNumLayers(); layer++) {
        if (layer > 0 && context.training() && config.encoderDropout() > 0) {
          Philox random = context.random().child(layer);
          x = Dropout.apply(x, config.encoderDropout(), random);
        }
        NDList weights = new NDList();
        for (String direction : DIRECTIONS) {
          for (String kind : List.of("weight_ih", "weight_hh", "bias_ih", "bias_hh")) {
            weights.add(tensors.parameter(LSTM + kind + "_l" + layer + direction));
          }
        }
        NDList start =
            new NDList(
                context.manager().zeros(new Shape(2, 1, width)),
                context.manager().zeros(new Shape(2, 1, width)));
        x =
            x.getNDArrayInternal()
                .lstm(x, start, weights, true, 1, 0, context.training(), true, true)
                .get(0);
      }
      return x;
    }

    @Override
    public List<Modification> modifications(MethodTensors tensors, TuningContext context) {
      return List.of(new Modification.Prompt(vectors(tensors, context)));
    }

    @Override
    public SortedMap<String, Object> modelFields() {
      SortedMap<String, Object> fields = VirtualTokens.sizes(structure);
      if (config.encoderHiddenSize() == 0) {
        fields.put("encoder_hidden_size", width);
      }
      return fields;
    }
  }
}
