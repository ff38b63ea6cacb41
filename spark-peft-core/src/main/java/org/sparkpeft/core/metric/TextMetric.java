package org.sparkpeft.core.metric;

import java.util.Arrays;
import java.util.List;
import java.util.Optional;

/** How a generated text is compared with what should have been said. */
public enum TextMetric {
  /** {@link ExactMatch}: the same text. */
  EXACT_MATCH("exact_match", ExactMatch::of),
  /** {@link Gsm8kAnswer}: the same final number. */
  GSM8K("gsm8k", Gsm8kAnswer::of),
  /** {@link RougeL}: words in the same order. */
  ROUGE_L("rouge_l", RougeL::of),
  /** {@link WordErrorRate}: words to change; the one of which less is better. */
  WER("wer", WordErrorRate::of);

  private final String configName;
  private final Comparison comparison;

  TextMetric(String configName, Comparison comparison) {
    this.configName = configName;
    this.comparison = comparison;
  }

  /** The name in recipes, summaries and reports. */
  public String configName() {
    return configName;
  }

  /** The names of all, in alphabetical order. */
  public static List<String> names() {
    return Arrays.stream(values()).map(TextMetric::configName).toList();
  }

  /** The metric of a name. */
  public static Optional<TextMetric> named(String name) {
    return Arrays.stream(values()).filter(metric -> metric.configName.equals(name)).findFirst();
  }

  /** Whether less of it is better. */
  public boolean isError() {
    return this == WER;
  }

  /**
   * Compares one text.
   *
   * @param said what was generated
   * @param reference what should have been
   */
  public Share compare(String said, String reference) {
    return comparison.of(said, reference);
  }

  private interface Comparison {
    Share of(String said, String reference);
  }
}
