package org.sparkpeft.core.train;

import java.io.Serializable;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.sparkpeft.core.error.Problems;

/**
 * How a language model learns from preferences. Names are those of TRL.
 *
 * <p>The reference that DPO, IPO and KTO compare with is the model before tuning, in every round of
 * a federation: the base with its adapter off, never the last round's average. Log-probabilities of
 * policy and reference are taken without dropout.
 *
 * @param lossType {@code auto}, the first of those the task has: {@code dpo} has {@code sigmoid}
 *     (Rafailov et al. 2023, arXiv 2305.18290; with label smoothing conservative DPO), {@code
 *     sigmoid_norm} (the same on means per token), {@code hinge} (SLiC, Zhao et al. 2023, arXiv
 *     2305.10425) and {@code robust} (Chowdhury et al. 2024, arXiv 2403.00409); {@code ipo} has
 *     {@code ipo} (Azar et al. 2023, arXiv 2310.12036, on means per token) and {@code ipo_sum} (on
 *     sums); {@code orpo} (Hong et al. 2024, arXiv 2403.07691) and {@code kto} (Ethayarajh et al.
 *     2024, arXiv 2402.01306) have one of their own name
 * @param beta above 0; of DPO and KTO, how dearly leaving the reference is paid for; of IPO, its
 *     tau; of ORPO, the weight of the odds ratio (the paper's lambda)
 * @param labelSmoothing share of pairs whose label is taken to be wrong, in 0..0.5 (excluded)
 * @param desirableWeight of KTO's desirable examples, above 0
 * @param undesirableWeight of KTO's undesirable examples, above 0
 * @param referenceFree whether DPO takes every completion to be equally likely under the reference;
 *     another loss than that with the base as reference
 * @param rpoAlpha weight of the chosen completion's mean negative log-likelihood, added to DPO and
 *     IPO (Pang et al. 2024, arXiv 2404.19733); 0 leaves it out
 * @param maxPromptLength tokens kept of a prompt, its last; 0 keeps all, and a prompt that leaves
 *     no room for a completion is an error
 */
public record PreferenceConfig(
    String lossType,
    double beta,
    double labelSmoothing,
    double desirableWeight,
    double undesirableWeight,
    boolean referenceFree,
    double rpoAlpha,
    int maxPromptLength)
    implements Serializable {
  private static final String AUTO = "auto";

  /** By task, its losses, the usual one first. */
  private static final Map<String, List<String>> LOSSES =
      new TreeMap<>(
          Map.of(
              "dpo", List.of("sigmoid", "sigmoid_norm", "hinge", "robust"),
              "ipo", List.of("ipo", "ipo_sum"),
              "orpo", List.of("orpo"),
              "kto", List.of("kto")));

  public PreferenceConfig {
    new Problems()
        .require(
            beta > 0 && Double.isFinite(beta), "beta", beta, "must be above 0; usual is 0.01..0.5")
        .require(
            labelSmoothing >= 0 && labelSmoothing < 0.5,
            "label_smoothing",
            labelSmoothing,
            "must be 0 or above and below 0.5")
        .require(
            desirableWeight > 0 && Double.isFinite(desirableWeight),
            "desirable_weight",
            desirableWeight,
            "must be above 0; 1 is usual")
        .require(
            undesirableWeight > 0 && Double.isFinite(undesirableWeight),
            "undesirable_weight",
            undesirableWeight,
            "must be above 0; 1 is usual")
        .require(
            rpoAlpha >= 0 && Double.isFinite(rpoAlpha),
            "rpo_alpha",
            rpoAlpha,
            "must be 0 or above; 1 is usual")
        .require(
            maxPromptLength >= 0,
            "max_prompt_length",
            maxPromptLength,
            "must be 0 (prompts are not cut) or above")
        .throwIfAny();
  }

  public static PreferenceConfig defaults() {
    return new PreferenceConfig(AUTO, 0.1, 0, 1, 1, false, 0, 0);
  }

  public PreferenceConfig withBeta(double newBeta) {
    return new PreferenceConfig(
        lossType,
        newBeta,
        labelSmoothing,
        desirableWeight,
        undesirableWeight,
        referenceFree,
        rpoAlpha,
        maxPromptLength);
  }

  public PreferenceConfig withLossType(String newType) {
    return new PreferenceConfig(
        newType,
        beta,
        labelSmoothing,
        desirableWeight,
        undesirableWeight,
        referenceFree,
        rpoAlpha,
        maxPromptLength);
  }

  /** Whether a task learns from preferences. */
  public static boolean isFor(String task) {
    return LOSSES.containsKey(task);
  }

  /** The loss by name, {@code auto} decided. */
  String lossOf(String task) {
    return lossType.equals(AUTO) ? LOSSES.getOrDefault(task, List.of("")).get(0) : lossType;
  }

  /**
   * Records what does not go with a task.
   *
   * @param prefix of the keys, with its dot
   * @param maxLength tokens of prompt and completion together
   */
  public void check(Problems problems, String prefix, String task, int maxLength) {
    if (!isFor(task)) {
      problems.require(
          equals(defaults()),
          prefix + "beta",
          this,
          "preference settings are for the tasks "
              + String.join(", ", LOSSES.keySet())
              + "; this one is "
              + task);
      return;
    }
    List<String> losses = LOSSES.getOrDefault(task, List.of());
    String loss = lossOf(task);
    boolean compares = task.equals("dpo") || task.equals("ipo");
    problems
        .require(
            losses.contains(loss),
            prefix + "loss_type",
            lossType,
            "task " + task + " has auto, " + String.join(", ", losses))
        .require(
            labelSmoothing == 0 || (task.equals("dpo") && !loss.equals("hinge")),
            prefix + "label_smoothing",
            labelSmoothing,
            "is for the losses sigmoid, sigmoid_norm and robust of dpo; elsewhere it must be 0")
        .require(
            (desirableWeight == 1 && undesirableWeight == 1) || task.equals("kto"),
            prefix + "desirable_weight",
            desirableWeight + " and " + undesirableWeight,
            "desirable_weight and undesirable_weight are for kto; elsewhere both must be 1")
        .require(
            !referenceFree || compares,
            prefix + "reference_free",
            true,
            task.equals("kto")
                ? "kto measures against a reference; leave it out"
                : "orpo has no reference anyway; leave it out")
        .require(
            rpoAlpha == 0 || compares,
            prefix + "rpo_alpha",
            rpoAlpha,
            "is for dpo and ipo; elsewhere it must be 0")
        .require(
            maxPromptLength < maxLength,
            prefix + "max_prompt_length",
            maxPromptLength,
            "must leave room for a completion in max_length, which is " + maxLength);
  }
}
