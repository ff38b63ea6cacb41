package org.sparkpeft.core.peft;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;
import org.sparkpeft.core.error.Problems;

/**
 * LoRA and its variants; see {@link Lora} for the formulas.
 *
 * @param r rank, 1..512
 * @param loraAlpha numerator of the scaling, above 0
 * @param loraDropout probability in [0, 1) of dropping an entry of the adapter branch's input while
 *     training
 * @param targetModules linear layers and embeddings the adapter acts on
 * @param excludeModules names, as in {@code targetModules}, to leave out
 * @param useRslora scale by {@code lora_alpha / sqrt(r)}
 * @param initLoraWeights {@code true} (A Kaiming-uniform, B zero), {@code gaussian} (A from N(0,
 *     1/r), B zero), {@code false} (both Kaiming-uniform: the output changes at the start), {@code
 *     pissa} or {@code olora} (from the base weight's singular vectors or its QR), or {@code
 *     pissa_niter_k} (singular vectors after k power iterations)
 * @param rankPattern rank for modules whose path ends with the key or matches it as a regular
 *     expression
 * @param alphaPattern the same for {@code lora_alpha}
 * @param layersToTransform layer numbers to act on; empty means all
 * @param layersPattern name of the list of layers that the numbers count, such as {@code layer};
 *     empty means the innermost
 * @param useDora train each output's magnitude apart from its direction
 * @param bias base biases to train: {@code none}, {@code lora_only} (those of the adapted layers)
 *     or {@code all}
 * @param loraBias whether B has a bias
 * @param loraplusLrRatio LoRA+: how many times faster than A the factor B and every vector learn,
 *     at least 1. A matter of training; not in the file
 * @param freezeA LoRA-FA: A stays as it starts and only B learns. A matter of training; the file is
 *     that of LoRA
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
    List<String> layersPattern,
    boolean useDora,
    String bias,
    boolean loraBias,
    double loraplusLrRatio,
    boolean freezeA,
    List<String> modulesToSave)
    implements PeftConfig {
  private static final Pattern INITS =
      Pattern.compile("true|false|gaussian|olora|pissa(_niter_\\d{1,3})?");

  public LoraConfig {
    excludeModules = List.copyOf(excludeModules);
    // The first key that matches decides, so the order must be kept; Map.copyOf does not.
    rankPattern = Collections.unmodifiableMap(new LinkedHashMap<>(rankPattern));
    alphaPattern = Collections.unmodifiableMap(new LinkedHashMap<>(alphaPattern));
    layersToTransform = List.copyOf(layersToTransform);
    layersPattern = List.copyOf(layersPattern);
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
            INITS.matcher(initLoraWeights).matches(),
            "init_lora_weights",
            initLoraWeights,
            "must be true, false, gaussian, olora, pissa or pissa_niter_k with a number k")
        .require(
            List.of("none", "lora_only", "all").contains(bias),
            "bias",
            bias,
            "must be none, lora_only or all")
        .require(
            !loraBias || (List.of("true", "false").contains(initLoraWeights) && !useDora),
            "lora_bias",
            loraBias,
            "goes with init_lora_weights true or false and without use_dora")
        .require(
            loraplusLrRatio >= 1 && loraplusLrRatio <= 1000,
            "loraplus_lr_ratio",
            loraplusLrRatio,
            "must be 1 (plain LoRA) to 1000; usual is 16")
        .require(
            layersPattern.isEmpty() || !layersToTransform.isEmpty(),
            "layers_pattern",
            layersPattern,
            "says what the numbers in layers_to_transform count; set those too");
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

  /** LoRA without variants. */
  public LoraConfig(
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
      List<String> modulesToSave) {
    this(
        r,
        loraAlpha,
        loraDropout,
        targetModules,
        excludeModules,
        useRslora,
        initLoraWeights,
        rankPattern,
        alphaPattern,
        layersToTransform,
        List.of(),
        false,
        "none",
        false,
        1,
        false,
        modulesToSave);
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

  /** Whether the adapter starts as a part of the base weight, which is then taken from the base. */
  boolean startsFromBase() {
    return initLoraWeights.equals("olora") || initLoraWeights.startsWith("pissa");
  }

  public LoraConfig withRank(int newRank) {
    return with(
        newRank, loraAlpha, initLoraWeights, useDora, bias, loraBias, loraplusLrRatio, freezeA);
  }

  public LoraConfig withAlpha(double alpha) {
    return with(r, alpha, initLoraWeights, useDora, bias, loraBias, loraplusLrRatio, freezeA);
  }

  public LoraConfig withInit(String init) {
    return with(r, loraAlpha, init, useDora, bias, loraBias, loraplusLrRatio, freezeA);
  }

  public LoraConfig withDora() {
    return with(r, loraAlpha, initLoraWeights, true, bias, loraBias, loraplusLrRatio, freezeA);
  }

  /** With base biases trained: {@code none}, {@code lora_only} or {@code all}. */
  public LoraConfig withBias(String which) {
    return with(r, loraAlpha, initLoraWeights, useDora, which, loraBias, loraplusLrRatio, freezeA);
  }

  public LoraConfig withLoraBias() {
    return with(r, loraAlpha, initLoraWeights, useDora, bias, true, loraplusLrRatio, freezeA);
  }

  public LoraConfig withLoraplusRatio(double ratio) {
    return with(r, loraAlpha, initLoraWeights, useDora, bias, loraBias, ratio, freezeA);
  }

  public LoraConfig withFrozenA() {
    return with(r, loraAlpha, initLoraWeights, useDora, bias, loraBias, loraplusLrRatio, true);
  }

  /** Other ranks and scalings, by module; see {@link #rankPattern}. */
  LoraConfig withPatterns(Map<String, Integer> ranks, Map<String, Double> alphas) {
    return new LoraConfig(
        r,
        loraAlpha,
        loraDropout,
        targetModules,
        excludeModules,
        useRslora,
        initLoraWeights,
        ranks,
        alphas,
        layersToTransform,
        layersPattern,
        useDora,
        bias,
        loraBias,
        loraplusLrRatio,
        freezeA,
        modulesToSave);
  }

  private LoraConfig with(
      int newRank,
      double newAlpha,
      String newInit,
      boolean newDora,
      String newBias,
      boolean newLoraBias,
      double newRatio,
      boolean newFreezeA) {
    return new LoraConfig(
        newRank,
        newAlpha,
        loraDropout,
        targetModules,
        excludeModules,
        useRslora,
        newInit,
        rankPattern,
        alphaPattern,
        layersToTransform,
        layersPattern,
        newDora,
        newBias,
        newLoraBias,
        newRatio,
        newFreezeA,
        modulesToSave);
  }

  @Override
  public String peftType() {
    return "LORA";
  }
}
