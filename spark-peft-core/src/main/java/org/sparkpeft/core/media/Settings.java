package org.sparkpeft.core.media;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.List;
import java.util.Set;
import org.sparkpeft.core.error.FormatException;

/**
 * Typed, checked access to a JSON object of settings.
 *
 * @param source where it came from, for messages
 */
record Settings(String source, JsonNode json) {

  boolean has(String key) {
    return !json.path(key).isMissingNode() && !json.path(key).isNull();
  }

  boolean flag(String key, boolean fallback) {
    if (!has(key)) {
      return fallback;
    }
    if (!json.get(key).isBoolean()) {
      throw wrong(key, "true or false");
    }
    return json.get(key).booleanValue();
  }

  /** A whole number from 1 to {@code most}. */
  int count(String key, int fallback, int most) {
    if (!has(key)) {
      return fallback;
    }
    JsonNode value = json.get(key);
    if (!value.isIntegralNumber()
        || !value.canConvertToInt()
        || value.intValue() < 1
        || value.intValue() > most) {
      throw wrong(key, "a whole number from 1 to " + most);
    }
    return value.intValue();
  }

  double number(String key, double fallback) {
    if (!has(key)) {
      return fallback;
    }
    if (!json.get(key).isNumber() || !Double.isFinite(json.get(key).doubleValue())) {
      throw wrong(key, "a number");
    }
    return json.get(key).doubleValue();
  }

  /** A number that is divided by or that a logarithm is taken of. */
  double positive(String key, double fallback) {
    double value = number(key, fallback);
    if (!(value > 0)) {
      throw wrong(key, "a number above 0");
    }
    return value;
  }

  String text(String key) {
    return json.path(key).asText("");
  }

  /** A number, or a list of numbers; {@code fallback} when absent. */
  List<Double> numbers(String key, List<Double> fallback) {
    if (!has(key)) {
      return fallback;
    }
    JsonNode value = json.get(key);
    if (value.isNumber()) {
      return List.of(value.doubleValue());
    }
    if (!value.isArray() || value.isEmpty() || value.valueStream().anyMatch(n -> !n.isNumber())) {
      throw wrong(key, "a list of numbers");
    }
    return value.valueStream().map(JsonNode::doubleValue).toList();
  }

  /** Refuses a setting that would change the result and that nothing here computes. */
  void only(String key, Set<String> supported) {
    if (has(key) && !supported.contains(json.get(key).asText())) {
      throw wrong(key, String.join(" or ", supported));
    }
  }

  FormatException wrong(String key, String allowed) {
    return new FormatException(
        source, key + " must be " + allowed + ", got " + (has(key) ? json.get(key) : "nothing"));
  }
}
