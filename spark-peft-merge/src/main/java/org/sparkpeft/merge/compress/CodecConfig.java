package org.sparkpeft.merge.compress;

import java.io.Serializable;
import java.util.List;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.Problems;

/**
 * How one direction of traffic is compressed.
 *
 * @param codec {@code compeft} (top-k, ternary, entropy-coded), {@code topk} (top-k with fp16
 *     values), {@code int8} (block-scaled), {@code fp16}, or {@code none} (fp32)
 * @param density fraction of entries kept by {@code compeft} and {@code topk}, in (0, 1]
 * @param selection {@code global}: the largest entries of the whole vector; {@code tensor}: of each
 *     tensor
 * @param scale magnitude of a ternary value: {@code mean} (mean magnitude of the kept entries of
 *     the tensor, the least-squares optimum) or {@code sigma} (alpha times the standard deviation
 *     of the whole vector, as published)
 * @param alpha factor on the scale; published values are 0.5..10
 * @param errorFeedback keep what compression lost and add it before the next encoding * @param
 *     feedbackDecay factor, in (0, 1], on what is kept: 1 keeps all of it (classical error
 *     feedback, right for gradients); below 1 forgets it round by round, which suits updates of
 *     many local steps, since what was not sent is learned again from the parameters the next round
 *     starts at
 * @param rounding of {@code int8}: {@code nearest} or {@code stochastic} (right on average)
 * @param pipeline sparsifier, quantiser and coder as one text, for example {@code
 *     topk(0.1)|ternary(mean)|rice}; if not empty, it replaces all of the above but error feedback.
 *     See {@link Pipeline}
 */
public record CodecConfig(
    String codec,
    double density,
    String selection,
    String scale,
    double alpha,
    boolean errorFeedback,
    double feedbackDecay,
    String rounding,
    String pipeline)
    implements Serializable {
  public static final List<String> CODECS = List.of("compeft", "topk", "int8", "fp16", "none");

  public CodecConfig {
    Problems problems = new Problems();
    problems
        .require(
            CODECS.contains(codec), "codec", codec, "must be one of " + String.join(", ", CODECS))
        .require(density > 0 && density <= 1, "density", density, "must be in (0, 1]; try 0.1")
        .require(
            List.of("global", "tensor").contains(selection),
            "selection",
            selection,
            "must be global or tensor")
        .require(List.of("mean", "sigma").contains(scale), "scale", scale, "must be mean or sigma")
        .require(alpha > 0 && alpha <= 100, "alpha", alpha, "must be above 0 and at most 100")
        .require(
            feedbackDecay > 0 && feedbackDecay <= 1,
            "feedback_decay",
            feedbackDecay,
            "must be in (0, 1]; switch error_feedback off to keep nothing")
        .require(
            List.of("nearest", "stochastic").contains(rounding),
            "rounding",
            rounding,
            "must be nearest or stochastic");
    if (!pipeline.isEmpty()) {
      try {
        Pipeline.parse(pipeline);
      } catch (ConfigException e) {
        e.problems().forEach(problems::add);
      }
    }
    problems.throwIfAny();
  }

  /** A configuration that rounds to nearest and has no pipeline of its own. */
  public CodecConfig(
      String codec,
      double density,
      String selection,
      String scale,
      double alpha,
      boolean errorFeedback) {
    this(codec, density, selection, scale, alpha, errorFeedback, 1, "nearest", "");
  }

  /** A pipeline in place of a named codec, without error feedback. */
  public static CodecConfig ofPipeline(String pipeline) {
    return new CodecConfig("compeft", 0.1, "global", "mean", 1, false, 1, "nearest", pipeline);
  }

  /** Factor on what compression loses before it is kept: 0 without error feedback. */
  public double feedback() {
    return errorFeedback ? feedbackDecay : 0;
  }

  /** Plain fp32, for vectors that must arrive as they are. */
  public static CodecConfig uncompressed() {
    return new CodecConfig("none", 1, "global", "mean", 1, false);
  }

  public static CodecConfig defaults() {
    return new CodecConfig("compeft", 0.1, "global", "mean", 1, true, 1, "nearest", "");
  }
}
