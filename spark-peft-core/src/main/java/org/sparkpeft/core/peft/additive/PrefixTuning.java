package org.sparkpeft.core.peft.additive;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import org.sparkpeft.core.error.Problems;
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
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;

/**
 * Prefix tuning (Li and Liang 2021, arXiv 2101.00190): {@code K <- [P_k; K]}, {@code V <- [P_v; V]}
 * in each of L layers, with {@code prompt_embeddings [n, 2 L hidden]} holding, for each virtual
 * token, key and value of layer 0, then of layer 1 and so on. With {@code prefix_projection} they
 * are {@code W_2 tanh(W_1 e + b_1) + b_2} of an embedding {@code [n, hidden]}. As in Hugging Face,
 * where the prefix is a cache, text starts at position n. Without the projection, clients average
 * the vectors themselves; the order of tokens agrees as they share a start.
 */
public final class PrefixTuning implements PeftMethod<PrefixTuning.Config> {

  /**
   * Settings.
   *
   * @param numVirtualTokens n
   * @param prefixProjection compute the vectors by a network
   * @param encoderHiddenSize width of that network; 0 means the model's hidden size
   * @param initWeights {@code zero} to start from zero vectors (which still take attention), empty
   *     for random ones
   * @param modulesToSave modules trained and saved in full
   */
  public record Config(
      int numVirtualTokens,
      boolean prefixProjection,
      int encoderHiddenSize,
      String initWeights,
      List<String> modulesToSave)
      implements PeftConfig {

    public Config {
      modulesToSave = List.copyOf(modulesToSave);
      VirtualTokens.check(new Problems(), numVirtualTokens)
          .require(
              encoderHiddenSize >= 0 && encoderHiddenSize <= 65536,
              "encoder_hidden_size",
              encoderHiddenSize,
              "must be 1..65536, or 0 for the model's own size")
          .require(
              List.of("", "zero").contains(initWeights),
              "init_weights",
              initWeights,
              "must be zero, or left out for random vectors")
          .throwIfAny();
    }

    @Override
    public String peftType() {
      return "PREFIX_TUNING";
    }
  }

  @Override
  public String peftType() {
    return "PREFIX_TUNING";
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
    return new Config(16, false, 0, "", List.of("classifier"));
  }

  @Override
  public Config fileDefaults() {
    return new Config(16, false, 0, "", List.of());
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
    private static final String IN = ENCODER + "transform.0";
    private static final String OUT = ENCODER + "transform.2";
    private static final String TOKENS = ENCODER + "embedding.weight";

    private final Config config;
    private final ModuleTree.Structure structure;
    private final int width;

    Attached(Config config, ModuleTree.Structure structure) {
      this.config = config;
      this.structure = structure;
      this.width =
          config.encoderHiddenSize() == 0 ? structure.keySize() : config.encoderHiddenSize();
    }

    @Override
    List<Integer> outputShape() {
      return List.of(
          config.numVirtualTokens(),
          Math.multiplyExact(2 * structure.layers().size(), structure.keySize()));
    }

    @Override
    public Map<String, List<Integer>> shapes() {
      Map<String, List<Integer>> shapes = new LinkedHashMap<>();
      if (!config.prefixProjection()) {
        shapes.put(VirtualTokens.NAME, outputShape());
        return shapes;
      }
      int outputs = outputShape().get(1);
      shapes.put(TOKENS, List.of(config.numVirtualTokens(), structure.keySize()));
      shapes.put(IN + ".weight", List.of(width, structure.keySize()));
      shapes.put(IN + ".bias", List.of(width));
      shapes.put(OUT + ".weight", List.of(outputs, width));
      shapes.put(OUT + ".bias", List.of(outputs));
      return shapes;
    }

    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      Map<String, float[]> values = new LinkedHashMap<>();
      boolean zero = config.initWeights().equals("zero");
      shapes()
          .forEach(
              (name, shape) -> {
                int size = shape.stream().reduce(1, Math::multiplyExact);
                Philox random = Philox.of(seed, "prefix", Philox.hash(name));
                float[] start;
                if (zero && (name.startsWith(OUT) || name.equals(VirtualTokens.NAME))) {
                  start = new float[size];
                } else if (name.equals(TOKENS) || name.equals(VirtualTokens.NAME)) {
                  start = random.gaussian(size, 1);
                } else {
                  int in = name.startsWith(IN) ? structure.keySize() : width;
                  start = VirtualTokens.uniform(random, size, in);
                }
                values.put(name, start);
              });
      return values;
    }

    @Override
    NDArray encode(MethodTensors tensors, TuningContext context) {
      if (!config.prefixProjection()) {
        return tensors.parameter(VirtualTokens.NAME);
      }
      NDArray inner = // [n, width]
          Linear.of(
                  tensors.parameter(TOKENS),
                  tensors.parameter(IN + ".weight"),
                  tensors.parameter(IN + ".bias"))
              .tanh();
      return Linear.of(inner, tensors.parameter(OUT + ".weight"), tensors.parameter(OUT + ".bias"));
    }

    @Override
    public List<Modification> modifications(MethodTensors tensors, TuningContext context) {
      int layers = structure.layers().size();
      NDList parts = vectors(tensors, context).split(2L * layers, 1); // each [n, hidden]
      List<Modification> modifications = new ArrayList<>();
      for (int i = 0; i < layers; i++) {
        modifications.add(
            new Modification.Prefix(
                structure.layers().get(i).key(), parts.get(2 * i), parts.get(2 * i + 1)));
      }
      return modifications;
    }

    @Override
    public SortedMap<String, Object> modelFields() {
      SortedMap<String, Object> fields = VirtualTokens.sizes(structure);
      fields.put("token_dim", structure.keySize());
      fields.put("num_attention_heads", structure.keyHeads());
      if (config.encoderHiddenSize() == 0) {
        fields.put("encoder_hidden_size", width);
      }
      return fields;
    }
  }
}
