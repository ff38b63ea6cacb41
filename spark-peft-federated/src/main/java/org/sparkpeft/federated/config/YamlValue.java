package org.sparkpeft.federated.config;

import java.math.BigInteger;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;

/** A YAML document as plain immutable values that know where they came from. */
sealed interface YamlValue {

  /** How a message shows the value. */
  String shown();

  /** What YAML 1.2's core schema takes a scalar for; {@code OTHER} has a tag of its own. */
  enum Kind {
    TEXT,
    INTEGER,
    FLOAT,
    BOOLEAN,
    NULL,
    OTHER
  }

  /**
   * One word or number.
   *
   * @param text the scalar as written, quotes and escapes resolved
   */
  record Scalar(Kind kind, String text) implements YamlValue {
    @Override
    public String shown() {
      return switch (kind) {
        case NULL -> "nothing";
        case TEXT -> "\"" + text + "\"";
        case INTEGER, FLOAT, BOOLEAN, OTHER -> text;
      };
    }

    /** The value of an integer: decimal, {@code 0x} or {@code 0o}. */
    BigInteger integer() {
      boolean negative = text.startsWith("-");
      String digits = text.startsWith("-") || text.startsWith("+") ? text.substring(1) : text;
      BigInteger value =
          digits.startsWith("0x")
              ? new BigInteger(digits.substring(2), 16)
              : digits.startsWith("0o")
                  ? new BigInteger(digits.substring(2), 8)
                  : new BigInteger(digits);
      return negative ? value.negate() : value;
    }

    /** The value of an integer or float, which may be infinite or NaN. */
    double number() {
      if (kind == Kind.INTEGER) {
        return integer().doubleValue();
      }
      String lower = text.toLowerCase(Locale.ROOT);
      if (lower.endsWith(".inf")) {
        return lower.startsWith("-") ? Double.NEGATIVE_INFINITY : Double.POSITIVE_INFINITY;
      }
      return lower.equals(".nan") ? Double.NaN : Double.parseDouble(lower);
    }

    boolean isTrue() {
      return text.equalsIgnoreCase("true");
    }
  }

  record Sequence(List<Located> items) implements YamlValue {
    public Sequence {
      items = List.copyOf(items);
    }

    @Override
    public String shown() {
      return "a list";
    }
  }

  record Mapping(Map<String, Located> entries) implements YamlValue {
    public Mapping {
      entries = Collections.unmodifiableMap(new LinkedHashMap<>(entries));
    }

    @Override
    public String shown() {
      return "a section of keys";
    }

    Optional<Located> get(String key) {
      return Optional.ofNullable(entries.get(key));
    }

    /** This mapping without {@code key}. */
    Mapping without(String key) {
      Map<String, Located> copy = new LinkedHashMap<>(entries);
      copy.remove(key);
      return new Mapping(copy);
    }

    /** This mapping with the value at {@code path}; sections on the way are made as needed. */
    Mapping with(List<String> path, Located value) {
      String key = path.get(0);
      Map<String, Located> copy = new LinkedHashMap<>(entries);
      if (path.size() == 1) {
        copy.put(key, value);
      } else {
        Located before = entries.get(key);
        Mapping inner =
            before != null && before.value() instanceof Mapping mapping
                ? mapping
                : new Mapping(Map.of());
        String where = before == null ? value.where() : before.where();
        copy.put(key, new Located(inner.with(path.subList(1, path.size()), value), where));
      }
      return new Mapping(copy);
    }
  }

  /**
   * A value and where it was given.
   *
   * @param where {@code file:line}, or the command-line option
   */
  record Located(YamlValue value, String where) {}

  /** The value as Java objects: String, BigInteger, Double, Boolean, List, Map. */
  static Object plain(YamlValue value) {
    if (value instanceof Sequence sequence) {
      List<Object> list = new ArrayList<>();
      sequence.items().forEach(item -> list.add(plain(item.value())));
      return list;
    }
    if (value instanceof Mapping mapping) {
      Map<String, Object> map = new LinkedHashMap<>();
      mapping.entries().forEach((key, entry) -> map.put(key, plain(entry.value())));
      return map;
    }
    Scalar scalar = (Scalar) value;
    return switch (scalar.kind()) {
      case INTEGER -> scalar.integer();
      case FLOAT -> scalar.number();
      case BOOLEAN -> scalar.isTrue();
      case TEXT, NULL, OTHER -> scalar.text();
    };
  }
}
