package org.sparkpeft.core.peft;

import ai.djl.ndarray.NDArray;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.regex.Pattern;
import org.sparkpeft.core.engine.Scalars;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
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
  public MethodClass methodClass() {
    return MethodClass.REPARAMETERISED;
  }

  @Override
  public LoraConfig defaults() {
    return LoraConfig.defaults();
  }

  /** Hugging Face's alpha is 8, ours 16. */
  @Override
  public LoraConfig fileDefaults() {
    return LoraConfig.fileDefaults();
  }

  @Override
  public Map<String, Object> inertFields() {
    Map<String, Object> fields = new TreeMap<>();
    for (String unset :
        List.of(
            "alora_invocation_tokens",
            "arrow_config",
            "corda_config",
            "eva_config",
            "kasa_config",
            "layer_replication",
            "layers_pattern",
            "lora_ga_config",
            "megatron_config",
            "monteclora_config",
            "target_parameters",
            "trainable_token_indices",
            "use_bdlora",
            "velora_config")) {
      fields.put(unset, null);
    }
    for (String off :
        List.of("ensure_weight_tying", "fan_in_fan_out", "lora_bias", "use_dora", "use_qalora")) {
      fields.put(off, false);
    }
    fields.put("bias", "none");
    fields.put("loftq_config", Map.of());
    fields.put("megatron_core", "megatron.core");
    fields.put("qalora_group_size", 16);
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
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
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
    public List<Modification> modifications(MethodTensors tensors, TuningContext context) {
      List<Modification> modifications = new ArrayList<>();
      for (Site site : sites) {
        NDArray a = tensors.parameter(site.nameA());
        NDArray b = tensors.parameter(site.nameB());
        modifications.add(
            site.isEmbedding()
                ? embedding(site, a, b)
                : Modification.parallel(
                    site.module().path(), x -> delta(site, dropped(site, x, context), a, b)));
      }
      return modifications;
    }

    private NDArray dropped(Site site, NDArray x, TuningContext context) {
      if (!context.training() || config.loraDropout() == 0) {
        return x;
      }
      Philox random = context.random().child(Philox.hash(site.module().path()));
      return Dropout.apply(context.manager(), x, config.loraDropout(), random);
    }

    private static NDArray delta(Site site, NDArray x, NDArray a, NDArray b) {
      NDArray low = Scalars.times(Linear.of(x, a, null), site.scale()); // [..., r]
      return Linear.of(low, b, null); // [..., out]
    }

    private static Modification embedding(Site site, NDArray a, NDArray b) {
      return new Modification.OnEmbedding(
          site.module().path(),
          Insertion.PARALLEL,
          (below, layer, ids) -> {
            NDArray low = Scalars.times(Embedding.of(ids, a.transpose()), site.scale());
            return below.apply(layer, ids).addi(Linear.of(low, b, null)); // [batch, seq, size]
          });
    }

    /** {@code W + s B A}; for an embedding {@code E + s (B A)t}. */
    @Override
    public Map<String, float[]> fuse(
        ParameterVector parameters, MethodState state, BaseWeights base) {
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
}
