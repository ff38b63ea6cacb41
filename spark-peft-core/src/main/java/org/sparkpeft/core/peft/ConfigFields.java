package org.sparkpeft.core.peft;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.sparkpeft.core.error.ConfigException;

/** Typed reading of {@code adapter_config.json}; absent and null fields take a default. */
public final class ConfigFields {
  private final Map<String, Object> fields;

  public ConfigFields(Map<String, Object> fields) {
    this.fields = fields;
  }

  private Object get(String key, Object fallback) {
    Object value = fields.get(key);
    return value == null ? fallback : value;
  }

  public boolean has(String key) {
    return fields.get(key) != null;
  }

  public int integer(String key, int fallback) {
    Object value = get(key, fallback);
    if (value instanceof Integer number) {
      return number;
    }
    throw wrong(key, "a whole number", value);
  }

  /** A whole number of any size that is there. */
  public long whole(String key) {
    Object value = get(key, 0);
    if (value instanceof Integer || value instanceof Long) {
      return ((Number) value).longValue();
    }
    throw wrong(key, "a whole number", value);
  }

  public double number(String key, double fallback) {
    Object value = get(key, fallback);
    if (value instanceof Number number) {
      return number.doubleValue();
    }
    throw wrong(key, "a number", value);
  }

  public boolean flag(String key) {
    Object value = get(key, false);
    if (value instanceof Boolean flag) {
      return flag;
    }
    throw wrong(key, "true or false", value);
  }

  /** The value as text; true and false become words. */
  public String text(String key, String fallback) {
    return String.valueOf(get(key, fallback));
  }

  /** A list of strings. */
  public List<String> strings(String key) {
    List<String> strings = new ArrayList<>();
    for (Object item : list(key)) {
      if (!(item instanceof String string)) {
        throw wrong(key, "a list of strings", item);
      }
      strings.add(string);
    }
    return strings;
  }

  /** A list of whole numbers; one number counts as a list of one. */
  public List<Integer> integers(String key) {
    if (fields.get(key) instanceof Integer one) {
      return List.of(one);
    }
    List<Integer> integers = new ArrayList<>();
    for (Object item : list(key)) {
      if (!(item instanceof Integer integer)) {
        throw wrong(key, "a list of whole numbers", item);
      }
      integers.add(integer);
    }
    return integers;
  }

  private List<?> list(String key) {
    Object value = get(key, List.of());
    if (value instanceof List<?> list) {
      return list;
    }
    throw wrong(key, "a list", value);
  }

  /** Numbers by name, in file order. */
  public Map<String, Double> numbers(String key) {
    Object value = get(key, Map.of());
    if (!(value instanceof Map<?, ?> map)) {
      throw wrong(key, "an object", value);
    }
    Map<String, Double> numbers = new LinkedHashMap<>();
    map.forEach(
        (name, number) -> {
          if (!(number instanceof Number n)) {
            throw wrong(key + "." + name, "a number", String.valueOf(number));
          }
          numbers.put(String.valueOf(name), n.doubleValue());
        });
    return numbers;
  }

  public TargetModules targets(String key) {
    if (!has(key)) {
      throw new ConfigException(key, "is missing; name the modules to act on");
    }
    return TargetModules.fromConfig(get(key, List.of()));
  }

  /**
   * Refuses settings that would change what the adapter computes: each must be absent, null, false,
   * empty, or the value that means off.
   */
  public void requireOff(List<String> keys) {
    for (String key : keys) {
      Object value = get(key, false);
      boolean off =
          Boolean.FALSE.equals(value)
              || (value instanceof Map<?, ?> map && map.isEmpty())
              || (value instanceof List<?> list && list.isEmpty())
              || "none".equals(value);
      if (!off) {
        throw new ConfigException(key, value + " is not supported; leave it out");
      }
    }
  }

  private static ConfigException wrong(String key, String expected, Object value) {
    return new ConfigException(key, "must be " + expected + ", got " + value);
  }
}
