package org.sparkpeft.core.model;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.Arrays;
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

  /** A whole number from {@code least} on, or {@code fallback} when absent or null. */
  int atLeast(int least, String key, int fallback) {
    JsonNode value = json.path(key);
    if (value.isMissingNode() || value.isNull()) {
      return fallback;
    }
    if (!value.isIntegralNumber() || !value.canConvertToInt() || value.intValue() < least) {
      throw new FormatException(
          source, key + " must be a whole number from " + least + " on, got " + shown(key));
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

  /** A number above 0, {@code fallback} when absent, and 0 when null, which means without. */
  double positiveOrNone(String key, double fallback) {
    return json.path(key).isNull() ? 0 : positive(key, fallback);
  }

  /** A count, or {@code fallback} when absent or null. */
  int count(String key, int fallback) {
    JsonNode value = json.path(key);
    return value.isMissingNode() || value.isNull() ? fallback : count(key);
  }

  boolean flag(String key, boolean fallback) {
    JsonNode value = json.path(key);
    if (value.isMissingNode() || value.isNull()) {
      return fallback;
    }
    if (!value.isBoolean()) {
      throw new FormatException(source, key + " must be true or false, got " + shown(key));
    }
    return value.booleanValue();
  }

  boolean has(String key) {
    return !json.path(key).isMissingNode() && !json.path(key).isNull();
  }

  /**
   * A list of counts that must be there.
   *
   * @throws FormatException if it is missing, empty, or an element is not within 1..2^31-1
   */
  int[] counts(String key) {
    JsonNode list = json.path(key);
    int[] counts = new int[list.isArray() ? list.size() : 0];
    for (int i = 0; i < counts.length; i++) {
      counts[i] = list.get(i).canConvertToInt() ? list.get(i).asInt() : 0;
    }
    if (counts.length == 0 || Arrays.stream(counts).anyMatch(count -> count < 1)) {
      throw new FormatException(
          source, key + " must be a list of whole numbers above 0, got " + shown(key));
    }
    return counts;
  }

  /** One number for both directions, or {@code [height, width]}. */
  int[] heightAndWidth(String key, int fallback) {
    JsonNode value = json.path(key);
    if (!value.isArray()) {
      int both = count(key, fallback);
      return new int[] {both, both};
    }
    boolean ok = value.size() == 2;
    for (JsonNode side : value) {
      ok &= side.isIntegralNumber() && side.canConvertToInt() && side.intValue() > 0;
    }
    if (!ok) {
      throw new FormatException(
          source, key + " must be a size or [height, width], got " + shown(key));
    }
    return new int[] {value.get(0).intValue(), value.get(1).intValue()};
  }

  /** A list of words; empty when absent. */
  List<String> texts(String key) {
    List<String> texts = new ArrayList<>();
    json.path(key).forEach(item -> texts.add(item.asText()));
    return texts;
  }

  /** A list of numbers; empty when absent. */
  float[] numbers(String key) {
    JsonNode list = json.path(key);
    float[] numbers = new float[list.size()];
    for (int i = 0; i < numbers.length; i++) {
      if (!list.get(i).isNumber()) {
        throw new FormatException(source, key + " must be a list of numbers, got " + shown(key));
      }
      numbers[i] = list.get(i).floatValue();
    }
    return numbers;
  }

  /** The settings of an object within this one; empty ones when absent. */
  ModelConfig child(String key) {
    return new ModelConfig(source + ", " + key, json.path(key));
  }

  FormatException error(String message) {
    return new FormatException(source, message);
  }

  void requireDivides(String what, int parts, String whole, int size) {
    if (size % parts != 0) {
      throw error(parts + " " + what + " do not divide " + whole + " " + size);
    }
  }

  String text(String key, String fallback) {
    return json.path(key).isTextual() ? json.path(key).textValue() : fallback;
  }

  Activation activation(String key) {
    return activation(key, "gelu");
  }

  Activation activation(String key, String fallback) {
    String name = text(key, fallback);
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
