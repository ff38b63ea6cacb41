package org.sparkpeft.core.model;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.List;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.nn.Activation;

/** Typed, checked access to a model's {@code config.json}. */
final class ModelConfig {
  private final String source;
  private final JsonNode json;

  /**
   * @param source where the configuration came from, for messages
   */
  ModelConfig(String source, JsonNode json) {
    this.source = source;
    this.json = json;
  }

  /**
   * A count that must be there.
   *
   * @throws FormatException if it is missing or not within 1..2^31-1
   */
  int count(String key) {
    JsonNode value = json.path(key);
    if (!value.isIntegralNumber() || !value.canConvertToInt() || value.intValue() < 1) {
      throw new FormatException(source, key + " must be a whole number above 0, got " + shown(key));
    }
    return value.intValue();
  }

  /** A token id, or {@code fallback} when absent or null. */
  int id(String key, int fallback) {
    JsonNode value = json.path(key);
    if (value.isMissingNode() || value.isNull()) {
      return fallback;
    }
    if (!value.canConvertToInt() || value.intValue() < 0) {
      throw new FormatException(source, key + " must be a token id, got " + shown(key));
    }
    return value.intValue();
  }

  /** A number above 0, or {@code fallback} when absent. */
  double positive(String key, double fallback) {
    JsonNode value = json.path(key);
    if (value.isMissingNode() || value.isNull()) {
      return fallback;
    }
    if (!value.isNumber() || !(value.doubleValue() > 0)) {
      throw new FormatException(source, key + " must be a number above 0, got " + shown(key));
    }
    return value.doubleValue();
  }

  String text(String key, String fallback) {
    return json.path(key).isTextual() ? json.path(key).textValue() : fallback;
  }

  Activation activation(String key) {
    String name = text(key, "gelu");
    return Activation.named(name)
        .orElseThrow(
            () ->
                new FormatException(
                    source,
                    key + " \"" + name + "\" is not supported; known are " + Activation.names()));
  }

  /**
   * Refuses a setting that changes what the model computes in a way this class does not implement.
   *
   * @param supported values that mean the implemented behaviour; absence and null always do
   */
  void only(String key, List<?> supported) {
    JsonNode value = json.path(key);
    boolean ok =
        value.isMissingNode()
            || value.isNull()
            || supported.stream().anyMatch(s -> s.toString().equals(value.asText()));
    if (!ok) {
      throw new FormatException(
          source, key + " must be " + supported + "; " + shown(key) + " is not supported");
    }
  }

  private String shown(String key) {
    JsonNode value = json.path(key);
    return value.isMissingNode() ? "nothing" : value.toString();
  }
}
