package org.sparkpeft.core.peft.additive;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.types.Shape;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.core.engine.Scalars;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.model.LayerPaths;
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
import org.sparkpeft.core.peft.TensorRole;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * LLaMA-Adapter (Zhang et al. 2023, arXiv 2303.16199): in the upper layers every head attends also
 * to a trained prompt, apart from the text and through a gate that starts closed: {@code heads +
 * gate softmax(q Kᵀ / sqrt(d)) V} with {@code K, V} the layer's own projections of {@code
 * adaption_prompt [1, n, hidden]}, not rotated, and one {@code adaption_gate [1]} for each layer.
 * As in Hugging Face PEFT the prompt starts normal and the softmax is over the prompt alone.
 */
public final class AdaptionPrompt implements PeftMethod<AdaptionPrompt.Config> {

  /**
   * Settings.
   *
   * @param adapterLen n, tokens of the prompt
   * @param adapterLayers how many layers get one, counted from the top
   * @param targetModules last part of the attention blocks' paths, {@code self_attn} in Llama;
   *     empty for the model's own
   * @param modulesToSave modules trained and saved in full
   */
  public record Config(
      int adapterLen, int adapterLayers, String targetModules, List<String> modulesToSave)
      implements PeftConfig {

    public Config {
      modulesToSave = List.copyOf(modulesToSave);
      new Problems()
          .require(
              adapterLen >= 1 && adapterLen <= 4096,
              "adapter_len",
              adapterLen,
              "must be 1..4096; set 10")
          .require(
              adapterLayers >= 1 && adapterLayers <= 4096,
              "adapter_layers",
              adapterLayers,
              "must be 1..4096, at most the model's layers")
          .throwIfAny();
    }

    @Override
    public String peftType() {
      return "ADAPTION_PROMPT";
    }
  }

  @Override
  public String peftType() {
    return "ADAPTION_PROMPT";
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
    return new Config(10, 2, "", List.of("classifier"));
  }

  @Override
  public Config fileDefaults() {
    return new Config(10, 2, "", List.of());
  }

  @Override
  public AttachedMethod attach(Config config, ModuleTree modules) {
    ModuleTree.Structure structure = VirtualTokens.structure(modules, peftType());
    List<Site> blocks = new ArrayList<>();
    for (LayerPaths layer : structure.layers()) {
      if (layer.key().equals(layer.query())) {
        throw new ConfigException(
            "peft_type",
            peftType() + " needs queries, keys and values apart; " + layer.key() + " is all three");
      }
      String block = layer.key().substring(0, layer.key().lastIndexOf('.'));
      if (block.endsWith(config.targetModules())) {
        blocks.add(new Site(block, layer.key()));
      }
    }
    if (blocks.size() < config.adapterLayers()) {
      throw new ConfigException(
          "adapter_layers",
          "must be at most "
              + blocks.size()
              + ", the model's attention blocks named "
              + (config.targetModules().isEmpty() ? "so" : config.targetModules())
              + ", got "
              + config.adapterLayers());
    }
    return new Attached(
        config,
        structure,
        List.copyOf(blocks.subList(blocks.size() - config.adapterLayers(), blocks.size())));
  }

  private record Site(String block, String key) {
    String prompt() {
      return block + ".adaption_prompt";
    }

    String gate() {
      return block + ".adaption_gate";
    }
  }

  private record Attached(Config config, ModuleTree.Structure structure, List<Site> sites)
      implements AttachedMethod {

    @Override
    public Map<String, List<Integer>> shapes() {
      Map<String, List<Integer>> shapes = new LinkedHashMap<>();
      for (Site site : sites) {
        shapes.put(site.prompt(), List.of(1, config.adapterLen(), structure.hidden()));
        shapes.put(site.gate(), List.of(1));
      }
      return shapes;
    }

    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      Map<String, float[]> values = new LinkedHashMap<>();
      for (Site site : sites) {
        Philox random = Philox.of(seed, "adaption", Philox.hash(site.prompt()));
        int size = config.adapterLen() * structure.hidden();
        values.put(site.prompt(), random.gaussian(size, 1));
        values.put(site.gate(), new float[1]);
      }
      return values;
    }

    @Override
    public List<Modification> modifications(MethodTensors tensors, TuningContext context) {
      List<Modification> modifications = new ArrayList<>();
      for (Site site : sites) {
        NDArray prompt = tensors.parameter(site.prompt()); // [1, n, hidden]
        NDArray gate = tensors.parameter(site.gate()); // [1]
        modifications.add(
            new Modification.OnAttention(
                site.key(),
                (key, value, query, heads) ->
                    heads.add(attend(prompt, key, value, query).mul(gate))));
      }
      return modifications;
    }

    /** {@code [batch, seq, heads * headSize]} of what each query finds in the prompt. */
    private NDArray attend(NDArray prompt, Linear key, Linear value, NDArray query) {
      Shape shape = query.getShape();
      int size = structure.keySize() / structure.keyHeads();
      NDArray q = split(query, structure.heads(), size); // [batch, heads, seq, size]
      NDArray k = shared(split(key.apply(prompt), structure.keyHeads(), size));
      NDArray v = shared(split(value.apply(prompt), structure.keyHeads(), size));
      NDArray scores = // [batch, heads, seq, n]
          Scalars.times(q.matMul(k.transpose(0, 1, 3, 2)), (float) (1 / Math.sqrt(size)));
      return scores.softmax(3).matMul(v).transpose(0, 2, 1, 3).reshape(shape);
    }

    private static NDArray split(NDArray x, int heads, int size) {
      Shape shape = x.getShape();
      return x.reshape(shape.get(0), shape.get(1), heads, size).transpose(0, 2, 1, 3);
    }

    /** Each key head for the query heads it serves, {@code [1, heads, n, size]}. */
    private NDArray shared(NDArray heads) {
      int times = structure.heads() / structure.keyHeads();
      return times == 1 ? heads : heads.repeat(1, times);
    }

    @Override
    public TensorRole role(String tensor) {
      return TensorRole.LINEAR;
    }

    @Override
    public SortedMap<String, Object> modelFields() {
      String block = sites.get(0).block();
      SortedMap<String, Object> fields = new TreeMap<>();
      if (config.targetModules().isEmpty()) {
        fields.put("target_modules", block.substring(block.lastIndexOf('.') + 1));
      }
      return fields;
    }

    @Override
    public Optional<String> whyNotFused() {
      return Optional.of("the gated prompt has no place in the base's weights");
    }

    @Override
    public Map<String, float[]> fuse(
        ParameterVector parameters, MethodState state, BaseWeights base) {
      throw new IllegalStateException("never fused");
    }
  }
}
