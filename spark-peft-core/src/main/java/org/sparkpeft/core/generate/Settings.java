package org.sparkpeft.core.generate;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalInt;
import org.sparkpeft.core.error.ConfigException;

/**
 * Typed access to generation settings by name. A setting that is absent or null has its default.
 *
 * @param source where they came from, for messages
 */
record Settings(JsonNode json, String source) {

  double number(String key, double fallback) {
    JsonNode value = json.path(key);
    if (isUnset(value)) {
      return fallback;
    }
    if (!value.isNumber()) {
      throw wrong(key, "a number");
    }
    return value.doubleValue();
  }

  int count(String key, int fallback) {
    JsonNode value = json.path(key);
    if (isUnset(value)) {
      return fallback;
    }
    if (!value.isIntegralNumber() || !value.canConvertToInt() || value.intValue() < 0) {
      throw wrong(key, "a whole number from 0");
    }
    return value.intValue();
  }

  long wholeNumber(String key, long fallback) {
    JsonNode value = json.path(key);
    if (isUnset(value)) {
      return fallback;
    }
    if (!value.isIntegralNumber() || !value.canConvertToLong()) {
      throw wrong(key, "a whole number of 64 bits");
    }
    return value.longValue();
  }

  boolean flag(String key, boolean fallback) {
    JsonNode value = json.path(key);
    if (isUnset(value)) {
      return fallback;
    }
    if (!value.isBoolean()) {
      throw wrong(key, "true or false");
    }
    return value.booleanValue();
  }

  OptionalInt id(String key) {
    List<Integer> ids = ids(key);
    if (ids.size() > 1) {
      throw wrong(key, "one token id");
    }
    return ids.isEmpty() ? OptionalInt.empty() : OptionalInt.of(ids.get(0));
  }

  /** One token id or a list of them; empty when absent. */
  List<Integer> ids(String key) {
    JsonNode value = json.path(key);
    List<Integer> ids = new ArrayList<>();
    if (isUnset(value)) {
      return ids;
    }
    for (JsonNode id : value.isArray() ? value : List.of(value)) {
      if (!id.isIntegralNumber() || !id.canConvertToInt() || id.intValue() < 0) {
        throw wrong(key, "a token id or a list of them");
      }
      ids.add(id.intValue());
    }
    return ids;
  }

  /** One word or a list of them; empty when absent. */
  List<String> texts(String key) {
    JsonNode value = json.path(key);
    List<String> texts = new ArrayList<>();
    if (isUnset(value)) {
      return texts;
    }
    for (JsonNode text : value.isArray() ? value : List.of(value)) {
      if (!text.isTextual() || text.textValue().isEmpty()) {
        throw wrong(key, "a string or a list of strings, none empty");
      }
      texts.add(text.textValue());
    }
    return texts;
  }

  /** Text of a setting that is a word or a boolean. */
  String word(String key, String fallback) {
    JsonNode value = json.path(key);
    return isUnset(value) ? fallback : value.asText();
  }

  /**
   * Refuses a setting that changes what is generated in a way that is not implemented.
   *
   * @param neutral the value that changes nothing, beside absence, null, false and an empty list
   */
  void unsupported(String key, double neutral) {
    JsonNode value = json.path(key);
    boolean harmless =
        isUnset(value)
            || (value.isBoolean() && !value.booleanValue())
            || (value.isArray() && value.isEmpty())
            || (value.isNumber() && value.doubleValue() == neutral);
    if (!harmless) {
      throw new ConfigException(
          "generation." + key, "is not supported; got " + value + " in " + source);
    }
  }

  private static boolean isUnset(JsonNode value) {
    return value.isMissingNode() || value.isNull();
  }

  private ConfigException wrong(String key, String wanted) {
    return new ConfigException(
        "generation." + key, "must be " + wanted + ", got " + json.path(key) + " in " + source);
  }
}
