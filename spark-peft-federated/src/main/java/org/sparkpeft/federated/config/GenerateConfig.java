package org.sparkpeft.federated.config;

import java.io.Serializable;
import java.util.Collections;
import java.util.Map;
import java.util.TreeMap;
import org.sparkpeft.core.error.Problems;

/**
 * How texts are generated for the metrics that compare them with references. That takes much longer
 * than a loss.
 *
 * @param every rounds between such evaluations; 0 means only after the last round
 * @param maxExamples test rows to generate for, the same ones each time, chosen by their content; 0
 *     means all
 * @param settings of {@code generation_config.json}, in place of the model's own; without {@code
 *     max_new_tokens} and {@code max_length}, {@code max_length} is {@code model.max_length}
 * @param proxyFor folder of a larger model with the same tokenizer: its texts are compared, tuned
 *     by what training did to the model of the recipe (proxy tuning); empty to compare the trained
 *     model's own
 * @param proxyAlpha strength of that; 1 adds the whole difference
 */
public record GenerateConfig(
    int every, int maxExamples, Map<String, String> settings, String proxyFor, double proxyAlpha)
    implements Serializable {
  public GenerateConfig {
    settings = Collections.unmodifiableMap(new TreeMap<>(settings));
    new Problems()
        .require(every >= 0, "every", every, "must be 0 (only at the end) or above")
        .require(maxExamples >= 0, "max_examples", maxExamples, "must be 0 (all) or above")
        .require(Double.isFinite(proxyAlpha), "proxy_alpha", proxyAlpha, "must be finite")
        .throwIfAny();
  }

  public static GenerateConfig defaults() {
    return new GenerateConfig(0, 0, Map.of(), "", 1);
  }

  /** The same with the larger model elsewhere. */
  GenerateConfig withProxyFor(String folder) {
    return new GenerateConfig(every, maxExamples, settings, folder, proxyAlpha);
  }

  /** The settings as numbers, truth values and words. */
  public TreeMap<String, Object> typed() {
    return typed(settings);
  }

  /** Numbers, truth values and words, as JSON would have them. */
  public static TreeMap<String, Object> typed(Map<String, String> settings) {
    TreeMap<String, Object> typed = new TreeMap<>();
    settings.forEach((key, value) -> typed.put(key, typed(value)));
    return typed;
  }

  private static Object typed(String value) {
    if (value.equals("true") || value.equals("false")) {
      return Boolean.valueOf(value);
    }
    if (value.matches("-?\\d{1,18}")) {
      long whole = Long.parseLong(value);
      return whole == (int) whole ? (Object) (int) whole : (Object) whole;
    }
    if (value.matches("-?\\d*\\.?\\d+(?:[eE][-+]?\\d+)?")) {
      return Double.valueOf(value);
    }
    return value;
  }
}
