package org.sparkpeft.core.peft;

import ai.djl.ndarray.NDArray;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.regex.Pattern;
import org.sparkpeft.core.engine.Scalars;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.model.Tuning;
import org.sparkpeft.core.nn.Embedding;
import org.sparkpeft.core.nn.Linear;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * LoRA (Hu et al. 2021, arXiv 2106.09685): {@code y = W x + b + s B A dropout(x)} with {@code A [r,
 * in]}, {@code B [out, r]}, {@code s = alpha / r}, or {@code alpha / sqrt(r)} when rank-stabilised
 * (Kalajdzievski 2023, arXiv 2312.03732). On an embedding, {@code y = E[id] + s B A[:, id]} with
 * {@code A [r, rows]}, {@code B [size, r]} and no dropout.
 */
public final class Lora implements PeftMethod<LoraConfig> {
  /** Lists of layers that Hugging Face models have; the layer number is found without the name. */
  private static final List<String> LAYER_LISTS =
      List.of("layer", "layers", "h", "block", "blocks");

  private static final List<String> UNSUPPORTED =
      List.of(
          "alora_invocation_tokens",
          "arrow_config",
          "bias",
          "fan_in_fan_out",
          "kasa_config",
          "layer_replication",
          "loftq_config",
          "lora_bias",
          "megatron_config",
          "monteclora_config",
          "target_parameters",
          "trainable_token_indices",
          "use_bdlora",
          "use_dora",
          "use_qalora",
          "velora_config");

  @Override
  public String peftType() {
    return "LORA";
  }

  @Override
  public Class<LoraConfig> configType() {
    return LoraConfig.class;
  }

  @Override
  public AttachedMethod attach(LoraConfig config, ModuleTree modules) {
    List<Site> sites = new ArrayList<>();
    for (ModuleSpec module :
        TargetSelection.select(
            modules,
            config.targetModules(),
            config.excludeModules(),
            config.layersToTransform(),
            Set.of(ModuleSpec.Kind.LINEAR, ModuleSpec.Kind.EMBEDDING))) {
      int r = first(config.rankPattern(), module.path(), config.r());
      double alpha = first(config.alphaPattern(), module.path(), config.loraAlpha());
      double scale = alpha / (config.useRslora() ? Math.sqrt(r) : r);
      sites.add(new Site(module, r, (float) scale));
    }
    return new Attached(config, List.copyOf(sites));
  }

  /** The value of the first pattern that matches the end of the path, as Hugging Face reads it. */
  private static <T> T first(Map<String, T> patterns, String path, T fallback) {
    for (Map.Entry<String, T> entry : patterns.entrySet()) {
      if (Pattern.matches("(.*\\.)?(" + entry.getKey() + ")", path)) {
        return entry.getValue();
      }
    }
    return fallback;
  }

  @Override
  public LoraConfig readConfig(Map<String, Object> map) {
    ConfigFields fields = new ConfigFields(map);
    fields.requireOff(UNSUPPORTED);
    for (String pattern :
        map.get("layers_pattern") instanceof String one
            ? List.of(one)
            : fields.strings("layers_pattern")) {
      if (!LAYER_LISTS.contains(pattern)) {
        throw new ConfigException(
            "layers_pattern", "must be one of " + LAYER_LISTS + ", got " + pattern);
      }
    }
    Map<String, Integer> ranks = new LinkedHashMap<>();
    fields.numbers("rank_pattern").forEach((key, value) -> ranks.put(key, value.intValue()));
    return new LoraConfig(
        fields.integer("r", 8),
        fields.number("lora_alpha", 8),
        fields.number("lora_dropout", 0),
        fields.targets("target_modules"),
        fields.strings("exclude_modules"),
        fields.flag("use_rslora"),
        fields.text("init_lora_weights", "true"),
        ranks,
        fields.numbers("alpha_pattern"),
        fields.integers("layers_to_transform"),
        fields.strings("modules_to_save"));
  }

  @Override
  public SortedMap<String, Object> writeConfig(LoraConfig config) {
    SortedMap<String, Object> fields = new TreeMap<>();
    fields.put("r", config.r());
    fields.put("lora_alpha", config.loraAlpha());
    fields.put("lora_dropout", config.loraDropout());
    fields.put("target_modules", config.targetModules().toConfig());
    if (!config.excludeModules().isEmpty()) {
      fields.put("exclude_modules", config.excludeModules());
    }
    fields.put("use_rslora", config.useRslora());
    fields.put(
        "init_lora_weights",
        switch (config.initLoraWeights()) {
          case "true" -> true;
          case "false" -> false;
          default -> config.initLoraWeights();
        });
    fields.put("rank_pattern", config.rankPattern());
    fields.put("alpha_pattern", config.alphaPattern());
    if (!config.layersToTransform().isEmpty()) {
      fields.put("layers_to_transform", config.layersToTransform());
    }
    fields.put("bias", "none");
    fields.put("fan_in_fan_out", false);
    return fields;
  }

  /** One adapted module. */
  private record Site(ModuleSpec module, int r, float scale) {

    boolean isEmbedding() {
      return module.kind() == ModuleSpec.Kind.EMBEDDING;
    }

    String nameA() {
      return module.path() + (isEmbedding() ? ".lora_embedding_A" : ".lora_A.weight");
    }

    String nameB() {
      return module.path() + (isEmbedding() ? ".lora_embedding_B" : ".lora_B.weight");
    }
  }

  private record Attached(LoraConfig config, List<Site> sites) implements AttachedMethod {

    @Override
    public Map<String, List<Integer>> shapes() {
      Map<String, List<Integer>> shapes = new LinkedHashMap<>();
      for (Site site : sites) {
        shapes.put(site.nameA(), List.of(site.r(), site.module().in()));
        shapes.put(site.nameB(), List.of(site.module().out(), site.r()));
      }
      return shapes;
    }

    /**
     * Linear layers: A uniform within 1/sqrt(in) (Kaiming with a = sqrt 5) or N(0, 1/r), B zero.
     * Embeddings: A zero, B standard normal. With {@code false}, nothing is zero.
     */
    @Override
    public Map<String, float[]> initialValues(long seed, BaseWeights base) {
      Map<String, float[]> values = new LinkedHashMap<>();
      for (Site site : sites) {
        Philox random = Philox.of(seed, "lora", Philox.hash(site.module().path()));
        int sizeA = site.r() * site.module().in();
        int sizeB = site.r() * site.module().out();
        boolean zero = !config.initLoraWeights().equals("false");
        float[] a;
        float[] b;
        if (site.isEmbedding()) {
          a = zero ? new float[sizeA] : random.child(0).gaussian(sizeA, 1);
          b = random.child(1).gaussian(sizeB, 1);
        } else {
          a =
              config.initLoraWeights().equals("gaussian")
                  ? random.child(0).gaussian(sizeA, 1.0 / site.r())
                  : kaiming(random.child(0), sizeA, site.module().in());
          b = zero ? new float[sizeB] : kaiming(random.child(1), sizeB, site.r());
        }
        values.put(site.nameA(), a);
        values.put(site.nameB(), b);
      }
      return values;
    }

    private static float[] kaiming(Philox random, int size, int fanIn) {
      float bound = (float) (1 / Math.sqrt(fanIn));
      return random.uniform(size, -bound, bound);
    }

    @Override
    public Tuning tuning(Map<String, NDArray> parameters, TuningContext context) {
      Map<String, Factors> factors = new HashMap<>();
      for (Site site : sites) {
        factors.put(
            site.module().path(),
            new Factors(
                site.scale(), tensor(parameters, site.nameA()), tensor(parameters, site.nameB())));
      }
      return new LoraTuning(factors, context.training() ? config.loraDropout() : 0, context);
    }

    private static NDArray tensor(Map<String, NDArray> parameters, String name) {
      NDArray tensor = parameters.get(name);
      if (tensor == null) {
        throw new IllegalArgumentException("no parameter named " + name);
      }
      return tensor;
    }

    /** {@code W + s B A}; for an embedding {@code E + s (B A)t}. */
    @Override
    public Map<String, float[]> fuse(ParameterVector parameters, BaseWeights base) {
      Map<String, float[]> fused = new LinkedHashMap<>();
      for (Site site : sites) {
        String name = site.module().path() + ".weight";
        float[] weight = base.tensor(name).clone();
        float[] a = parameters.tensor(site.nameA());
        float[] b = parameters.tensor(site.nameB());
        int in = site.module().in();
        int out = site.module().out();
        for (int o = 0; o < out; o++) {
          for (int q = 0; q < site.r(); q++) {
            float factor = site.scale() * b[o * site.r() + q];
            for (int i = 0; i < in; i++) {
              weight[site.isEmbedding() ? i * out + o : o * in + i] += factor * a[q * in + i];
            }
          }
        }
        fused.put(name, weight);
      }
      return fused;
    }
  }

  private record Factors(float scale, NDArray a, NDArray b) {}

  private record LoraTuning(Map<String, Factors> factors, double dropout, TuningContext context)
      implements Tuning {

    @Override
    public NDArray linear(Linear layer, NDArray x) {
      Factors f = factors.get(layer.path());
      if (f == null) {
        return layer.apply(x);
      }
      NDArray kept = x; // [..., in]
      if (dropout > 0) {
        Philox random = context.random().child(Philox.hash(layer.path()));
        kept = Dropout.apply(context.manager(), x, dropout, random);
      }
      NDArray low = Scalars.times(Linear.of(kept, f.a(), null), f.scale()); // [..., r]
      NDArray delta = Linear.of(low, f.b(), null); // [..., out]
      return layer.apply(x).addi(delta);
    }

    @Override
    public NDArray embedding(Embedding layer, NDArray ids) {
      Factors f = factors.get(layer.path());
      if (f == null) {
        return layer.apply(ids);
      }
      NDArray low =
          Scalars.times(Embedding.of(ids, f.a().transpose()), f.scale()); // [batch, seq, r]
      return layer.apply(ids).addi(Linear.of(low, f.b(), null)); // [batch, seq, size]
    }
  }
}
