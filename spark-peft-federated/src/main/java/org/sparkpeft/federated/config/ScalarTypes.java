package org.sparkpeft.federated.config;

import java.lang.reflect.ParameterizedType;
import java.lang.reflect.Type;
import java.math.BigInteger;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import org.sparkpeft.core.error.Problem;
import org.sparkpeft.federated.config.YamlValue.Kind;
import org.sparkpeft.federated.config.YamlValue.Located;
import org.sparkpeft.federated.config.YamlValue.Mapping;
import org.sparkpeft.federated.config.YamlValue.Scalar;
import org.sparkpeft.federated.config.YamlValue.Sequence;

/**
 * Strictly typed leaves: {@code String}, {@code int}, {@code long}, {@code double}, {@code
 * boolean}, and lists and maps of them. A number is never cut to fit, a text never taken for a
 * number.
 */
final class ScalarTypes {
  private ScalarTypes() {}

  /**
   * What reading gave.
   *
   * @param value the value, empty when there are problems
   */
  record Result(Optional<Object> value, List<Problem> problems) {}

  static Result read(Type type, Located given, String key) {
    List<Problem> problems = new ArrayList<>();
    Optional<Object> value = read(type, given, key, problems);
    return new Result(problems.isEmpty() ? value : Optional.empty(), problems);
  }

  private static Optional<Object> read(
      Type type, Located given, String key, List<Problem> problems) {
    if (type instanceof ParameterizedType generic) {
      Type[] arguments = generic.getActualTypeArguments();
      return generic.getRawType() == List.class
          ? list(arguments[0], given, key, problems)
          : map(arguments[1], given, key, problems);
    }
    return scalar(type, given, key, problems);
  }

  private static Optional<Object> list(
      Type element, Located given, String key, List<Problem> problems) {
    if (!(given.value() instanceof Sequence sequence)) {
      return fail(key, "must be a list, in brackets", given, problems);
    }
    List<Object> list = new ArrayList<>();
    for (Located item : sequence.items()) {
      scalar(element, item, key, problems).ifPresent(list::add);
    }
    return Optional.of(list);
  }

  private static Optional<Object> map(
      Type element, Located given, String key, List<Problem> problems) {
    if (!(given.value() instanceof Mapping mapping)) {
      return fail(key, "must be a section of keys", given, problems);
    }
    Map<String, Object> map = new TreeMap<>();
    mapping
        .entries()
        .forEach(
            (name, item) -> {
              // Options of Spark are texts whatever they look like: header: true, port: 7077.
              boolean anyScalar =
                  element == String.class
                      && item.value() instanceof Scalar scalar
                      && scalar.kind() != Kind.NULL;
              Optional<Object> value =
                  anyScalar
                      ? Optional.of(((Scalar) item.value()).text())
                      : scalar(element, item, key + "." + name, problems);
              value.ifPresent(v -> map.put(name, v));
            });
    return Optional.of(map);
  }

  private static Optional<Object> scalar(
      Type type, Located given, String key, List<Problem> problems) {
    if (!(given.value() instanceof Scalar scalar)) {
      return fail(key, "must be " + name(type), given, problems);
    }
    Kind kind = scalar.kind();
    if (type == String.class && kind == Kind.TEXT) {
      return Optional.of(scalar.text());
    }
    if ((type == boolean.class || type == Boolean.class) && kind == Kind.BOOLEAN) {
      return Optional.of(scalar.isTrue());
    }
    if ((type == double.class || type == Double.class)
        && (kind == Kind.INTEGER || kind == Kind.FLOAT)
        && Double.isFinite(scalar.number())) {
      return Optional.of(scalar.number());
    }
    if (kind == Kind.INTEGER && (type == int.class || type == Integer.class)) {
      return whole(scalar, 31)
          .map(number -> (Object) number.intValueExact())
          .or(() -> fail(key, "must fit 32 bits", given, problems));
    }
    if (kind == Kind.INTEGER && type == long.class) {
      return whole(scalar, 63)
          .map(number -> (Object) number.longValueExact())
          .or(() -> fail(key, "must fit 64 bits", given, problems));
    }
    return fail(key, "must be " + name(type), given, problems);
  }

  private static Optional<BigInteger> whole(Scalar scalar, int bits) {
    return Optional.of(scalar.integer()).filter(number -> number.bitLength() <= bits);
  }

  private static String name(Type type) {
    return Map.<Type, String>of(
            String.class, "text; put it in quotes",
            int.class, "a whole number",
            Integer.class, "a whole number",
            long.class, "a whole number",
            double.class, "a finite number",
            Double.class, "a finite number",
            boolean.class, "true or false",
            Boolean.class, "true or false")
        .getOrDefault(type, type.getTypeName());
  }

  private static Optional<Object> fail(
      String key, String message, Located given, List<Problem> problems) {
    problems.add(new Problem(key, message + ", got " + given.value().shown(), given.where()));
    return Optional.empty();
  }
}
