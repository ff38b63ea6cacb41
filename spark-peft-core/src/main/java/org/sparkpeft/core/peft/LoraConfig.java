package org.sparkpeft.core.peft;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.sparkpeft.core.error.Problems;

/**
 * LoRA: {@code y = W x + b + s B A x} with {@code A [r, in]}, {@code B [out, r]} and {@code s =
 * lora_alpha / r}, or {@code lora_alpha / sqrt(r)} with {@code use_rslora} (Hu et al. 2021, arXiv
 * 2106.09685; Kalajdzievski 2023, arXiv 2312.03732).
 *
 * @param r rank, 1..512
 * @param loraAlpha numerator of the scaling, above 0
 * @param loraDropout probability in [0, 1) of dropping an entry of the adapter branch's input while
 *     training
 * @param targetModules linear layers the adapter acts on
 * @param excludeModules names, as in {@code targetModules}, to leave out
 * @param useRslora scale by {@code lora_alpha / sqrt(r)}
 * @param initLoraWeights {@code true} (A Kaiming-uniform, B zero), {@code gaussian} (A from N(0,
 *     1/r), B zero), or {@code false} (both Kaiming-uniform: the output changes at the start)
 * @param rankPattern rank for modules whose path ends with the key or matches it as a regular
 *     expression
 * @param alphaPattern the same for {@code lora_alpha}
 * @param layersToTransform layer numbers to act on; empty means all
 * @param modulesToSave modules trained and saved in full
 */
public record LoraConfig(
    int r,
    double loraAlpha,
    double loraDropout,
    TargetModules targetModules,
    List<String> excludeModules,
    boolean useRslora,
    String initLoraWeights,
    Map<String, Integer> rankPattern,
    Map<String, Double> alphaPattern,
    List<Integer> layersToTransform,
    List<String> modulesToSave)
    implements PeftConfig {

  public LoraConfig {
    excludeModules = List.copyOf(excludeModules);
    // The first key that matches decides, so the order must be kept; Map.copyOf does not.
    rankPattern = Collections.unmodifiableMap(new LinkedHashMap<>(rankPattern));
    alphaPattern = Collections.unmodifiableMap(new LinkedHashMap<>(alphaPattern));
    layersToTransform = List.copyOf(layersToTransform);
    modulesToSave = List.copyOf(modulesToSave);
    Problems problems = new Problems();
    problems
        .require(r >= 1 && r <= 512, "r", r, "LoRA rank must be 1..512; set \"r\" to 8 or 16")
        .require(
            loraAlpha > 0 && Double.isFinite(loraAlpha),
            "lora_alpha",
            loraAlpha,
            "must be above 0; usual is r or 2 r")
        .require(
            loraDropout >= 0 && loraDropout < 1, "lora_dropout", loraDropout, "must be in [0, 1)")
        .require(
            List.of("true", "false", "gaussian").contains(initLoraWeights),
            "init_lora_weights",
            initLoraWeights,
            "must be true, false or gaussian");
    rankPattern.forEach(
        (key, value) ->
            problems.require(
                value >= 1 && value <= 512, "rank_pattern." + key, value, "must be 1..512"));
    alphaPattern.forEach(
        (key, value) ->
            problems.require(value > 0, "alpha_pattern." + key, value, "must be above 0"));
    layersToTransform.forEach(
        layer ->
            problems.require(layer >= 0, "layers_to_transform", layer, "layer numbers start at 0"));
    problems.throwIfAny();
  }

  /** Rank 8, alpha 16, on query and value, with the classification head. */
  public static LoraConfig defaults() {
    return new LoraConfig(
        8,
        16,
        0,
        TargetModules.of("query", "value"),
        List.of(),
        false,
        "true",
        Map.of(),
        Map.of(),
        List.of(),
        List.of("classifier"));
  }

  /** What Hugging Face takes for fields that a file leaves out. */
  static LoraConfig fileDefaults() {
    LoraConfig ours = defaults();
    return new LoraConfig(
        ours.r,
        8,
        ours.loraDropout,
        ours.targetModules,
        ours.excludeModules,
        ours.useRslora,
        ours.initLoraWeights,
        ours.rankPattern,
        ours.alphaPattern,
        ours.layersToTransform,
        List.of());
  }

  public LoraConfig withRank(int newRank) {
    return new LoraConfig(
        newRank,
        loraAlpha,
        loraDropout,
        targetModules,
        excludeModules,
        useRslora,
        initLoraWeights,
        rankPattern,
        alphaPattern,
        layersToTransform,
        modulesToSave);
  }

  @Override
  public String peftType() {
    return "LORA";
  }
}
