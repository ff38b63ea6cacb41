package org.sparkpeft.core.peft;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;

/**
 * LoRA (Hu et al. 2021, arXiv 2106.09685): {@code y = W x + b + s B A dropout(x)} with {@code A [r,
 * in]}, {@code B [out, r]}, {@code s = alpha / r}, or {@code alpha / sqrt(r)} when rank-stabilised
 * (Kalajdzievski 2023, arXiv 2312.03732). On an embedding, {@code y = E[id] + s B A[:, id]} with
 * {@code A [r, rows]}, {@code B [size, r]} and no dropout.
 *
 * <ul>
 *   <li>DoRA (Liu et al. 2024, arXiv 2402.09353): {@code W' = m / |V| V} row by row, with {@code V
 *       = W + s B A} and a trained {@code m [out]} that starts as the rows' lengths; {@code |V|} is
 *       a constant to the gradient.
 *   <li>PiSSA (Meng et al. 2024, arXiv 2404.02948) and OLoRA (Büyükakyüz 2024, arXiv 2406.01775)
 *       start from a part {@code s B0 A0} of the weight, which the base then lacks. The base stays
 *       as it is here: {@code y = W x + s (B A - B0 A0) x}, with A0 and B0 in the state.
 *   <li>LoRA+ (Hayou et al. 2024, arXiv 2402.12354): B and vectors learn faster than A; biases do
 *       not decay. On embeddings both factors keep the common rate, where Hugging Face has a rate
 *       of its own.
 *   <li>LoRA-FA (Zhang et al. 2023, arXiv 2308.03303): A is frozen; averages of B are then exact.
 * </ul>
 *
 * <p>Federated: A, B and m are averaged as they are, which is not the average of the products.
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
    List<LoraSite> sites = new ArrayList<>();
    for (ModuleSpec module :
        TargetSelection.select(
            modules,
            config.targetModules(),
            config.excludeModules(),
            config.layersToTransform(),
            config.layersPattern(),
            Set.of(ModuleSpec.Kind.LINEAR, ModuleSpec.Kind.EMBEDDING))) {
      int r = first(config.rankPattern(), module.path(), config.r());
      double alpha = first(config.alphaPattern(), module.path(), config.loraAlpha());
      double scale = alpha / (config.useRslora() ? Math.sqrt(r) : r);
      requireFit(config, module, r);
      sites.add(new LoraSite(module, r, (float) scale));
    }
    return new AttachedLora(config, sites, otherBiases(config, sites, modules));
  }

  private static void requireFit(LoraConfig config, ModuleSpec module, int r) {
    boolean embedding = module.kind() == ModuleSpec.Kind.EMBEDDING;
    if (embedding && (config.loraBias() || config.freezeA())) {
      throw new ConfigException(
          config.loraBias() ? "lora_bias" : "freeze_a",
          "acts on linear layers only, and "
              + module.path()
              + " is an embedding; leave it out of target_modules");
    }
    if (config.loraBias() && !module.bias()) {
      throw new ConfigException(
          "lora_bias", "needs layers with a bias, and " + module.path() + " has none");
    }
    int most = Math.min(module.in(), module.out());
    if (config.startsFromBase() && !embedding && r > most) {
      throw new ConfigException(
          "r",
          "with init_lora_weights "
              + config.initLoraWeights()
              + " must be at most "
              + most
              + " on "
              + module.path()
              + ", got "
              + r);
    }
  }

  private static List<ModuleSpec> otherBiases(
      LoraConfig config, List<LoraSite> sites, ModuleTree modules) {
    if (!config.bias().equals("all")) {
      return List.of();
    }
    List<ModuleSpec> adapted = sites.stream().map(LoraSite::module).toList();
    return modules.without(adapted).all().stream().filter(ModuleSpec::bias).toList();
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
            "lora_ga_config",
            "megatron_config",
            "monteclora_config",
            "target_parameters",
            "trainable_token_indices",
            "use_bdlora",
            "velora_config")) {
      fields.put(unset, null);
    }
    for (String off : List.of("ensure_weight_tying", "fan_in_fan_out", "use_qalora")) {
      fields.put(off, false);
    }
    fields.put("loftq_config", Map.of());
    fields.put("megatron_core", "megatron.core");
    fields.put("qalora_group_size", 16);
    return fields;
  }

  /** Without what only training needs to know. */
  @Override
  public SortedMap<String, Object> writeConfig(LoraConfig config) {
    SortedMap<String, Object> fields = PeftMethod.super.writeConfig(config);
    fields.remove("loraplus_lr_ratio");
    fields.remove("freeze_a");
    return fields;
  }

  /** Which part of the base the adapter replaces does decide what it computes. */
  @Override
  public boolean mattersAtStartOnly(String field, @Nullable Object value) {
    String text = String.valueOf(value);
    return PeftMethod.super.mattersAtStartOnly(field, value)
        && !text.equals("olora")
        && !text.startsWith("pissa");
  }
}
