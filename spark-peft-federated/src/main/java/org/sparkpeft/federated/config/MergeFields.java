package org.sparkpeft.federated.config;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.Problem;
import org.sparkpeft.federated.config.YamlValue.Kind;
import org.sparkpeft.federated.config.YamlValue.Located;
import org.sparkpeft.federated.config.YamlValue.Mapping;
import org.sparkpeft.federated.config.YamlValue.Scalar;
import org.sparkpeft.federated.config.YamlValue.Sequence;
import org.sparkpeft.merge.recipe.MergeValue;

/** The values of a merge recipe, one by one; what is wrong with them is collected. */
final class MergeFields {
  private static final Set<String> PARAMETERS =
      Set.of(
          "weight",
          "density",
          "gamma",
          "epsilon",
          "lambda",
          "normalize",
          "rescale",
          "t",
          "decay",
          "threshold");

  private static final Map<String, Long> UNITS =
      Map.of(
          "",
          1L,
          "B",
          1L,
          "KB",
          1000L,
          "MB",
          1000_000L,
          "GB",
          1000_000_000L,
          "TB",
          1000_000_000_000L,
          "KIB",
          1L << 10,
          "MIB",
          1L << 20,
          "GIB",
          1L << 30);

  private final Path folder;
  private final List<Problem> problems;

  MergeFields(Path folder, List<Problem> problems) {
    this.folder = folder;
    this.problems = problems;
  }

  Map<String, MergeValue> section(Mapping parent, Set<String> allowed, String key) {
    Optional<Located> given = parent.get(key);
    if (given.isEmpty()) {
      return Map.of();
    }
    if (!(given.get().value() instanceof Mapping mapping)) {
      problem(key, "must be a section of keys", given.get());
      return Map.of();
    }
    // Only says how a mask is held in memory.
    Mapping rest = mapping.without("int8_mask");
    refuseUnknown(rest, allowed, key + ".");
    return values(rest, allowed, key + ".");
  }

  Map<String, MergeValue> values(Mapping mapping, Set<String> keys, String prefix) {
    Map<String, MergeValue> values = new TreeMap<>();
    for (String key : keys) {
      mapping
          .get(key)
          .flatMap(given -> value(prefix + key, key, given))
          .ifPresent(value -> values.put(key, value));
    }
    return values;
  }

  Optional<MergeValue> value(String shown, String key, Located given) {
    if (given.value() instanceof Scalar scalar) {
      return number(shown, key, given, scalar).map(MergeValue.Constant::new);
    }
    if (given.value() instanceof Mapping mapping) {
      return filtered(shown, key, List.of(new Located(mapping, given.where())));
    }
    List<Located> items = ((Sequence) given.value()).items();
    if (items.isEmpty()) {
      return fail(shown, "must not be empty", given);
    }
    if (items.stream().allMatch(item -> item.value() instanceof Scalar)) {
      List<Double> numbers = new ArrayList<>();
      for (Located item : items) {
        number(shown, key, item, (Scalar) item.value()).ifPresent(numbers::add);
      }
      return numbers.size() == items.size()
          ? Optional.of(new MergeValue.Gradient(numbers))
          : Optional.empty();
    }
    return filtered(shown, key, items);
  }

  Optional<MergeValue> filtered(String shown, String key, List<Located> items) {
    List<MergeValue.Case> cases = new ArrayList<>();
    for (Located item : items) {
      if (!(item.value() instanceof Mapping mapping) || mapping.get("value").isEmpty()) {
        return fail(shown, "must be numbers, or sections with value and filter", item);
      }
      refuseUnknown(mapping, Set.of("filter", "value"), shown + ".");
      String filter = text(mapping, "filter", "");
      value(shown, key, mapping.get("value").get())
          .ifPresent(
              value -> cases.add(new MergeValue.Case(filter.equals("*") ? "" : filter, value)));
    }
    return Optional.of(new MergeValue.Filtered(cases));
  }

  Optional<Double> number(String shown, String key, Located given, Scalar scalar) {
    if (scalar.kind() == Kind.BOOLEAN && Set.of("normalize", "rescale").contains(key)) {
      return Optional.of(scalar.isTrue() ? 1.0 : 0.0);
    }
    if (scalar.kind() != Kind.INTEGER && scalar.kind() != Kind.FLOAT) {
      return fail(shown, "must be a number", given);
    }
    double number = scalar.number();
    String limit =
        switch (key) {
          case "density" -> number > 0 && number <= 1 ? "" : "must be in (0, 1]";
          case "gamma", "epsilon" -> number >= 0 && number < 1 ? "" : "must be in [0, 1)";
          case "t" -> number >= 0 && number <= 1 ? "" : "must be in [0, 1]";
          default -> Double.isFinite(number) ? "" : "must be finite";
        };
    return limit.isEmpty() ? Optional.of(number) : fail(shown, limit, given);
  }

  void refuseUnknown(Mapping mapping, Set<String> known, String prefix) {
    mapping
        .entries()
        .forEach(
            (key, given) -> {
              if (!known.contains(key)) {
                String near =
                    RecipeKeys.nearest(key, known)
                        .map(other -> "did you mean " + other + "?")
                        .orElse(
                            PARAMETERS.contains(key)
                                ? "this method does not have it"
                                : "known here: " + String.join(", ", new TreeSet<>(known)));
                problems.add(new Problem(prefix + key, "unknown key; " + near, given.where()));
              }
            });
  }

  List<Located> list(Mapping root, String key) {
    Optional<Located> given = root.get(key);
    if (given.isEmpty()) {
      return List.of();
    }
    if (given.get().value() instanceof Sequence sequence) {
      return sequence.items();
    }
    problem(key, "must be a list", given.get());
    return List.of();
  }

  String scalar(Located item, String key) {
    if (item.value() instanceof Scalar scalar && scalar.kind() == Kind.TEXT) {
      return scalar.text();
    }
    problem(key, "must be text", item);
    return "";
  }

  String text(Mapping mapping, String key, String absent) {
    return mapping.get(key).map(given -> scalar(given, key)).orElse(absent);
  }

  long whole(Mapping mapping, String key, long absent) {
    Optional<Located> given = mapping.get(key);
    if (given.isEmpty()) {
      return absent;
    }
    if (given.get().value() instanceof Scalar scalar
        && scalar.kind() == Kind.INTEGER
        && scalar.integer().bitLength() < 32) {
      return scalar.integer().longValue();
    }
    problem(key, "must be a whole number", given.get());
    return absent;
  }

  long bytes(Mapping mapping, String key, long absent) {
    Optional<Located> given = mapping.get(key);
    if (given.isEmpty()) {
      return absent;
    }
    try {
      return bytes(((Scalar) given.get().value()).text(), key);
    } catch (ConfigException | ClassCastException e) {
      problem(key, "must be a size such as 5GB or 1GiB", given.get());
      return absent;
    }
  }

  /**
   * A number of bytes: {@code 5GB}, {@code 1GiB}, {@code 4096}.
   *
   * @throws ConfigException if it is none
   */
  public static long bytes(String text, String key) {
    java.util.regex.Matcher matcher =
        java.util.regex.Pattern.compile("(\\d{1,9}(?:\\.\\d{1,3})?)\\s*([A-Za-z]*)").matcher(text);
    if (matcher.matches()) {
      Long unit = UNITS.get(matcher.group(2).toUpperCase(java.util.Locale.ROOT));
      if (unit != null) {
        return (long) (Double.parseDouble(matcher.group(1)) * unit);
      }
    }
    throw new ConfigException(key, "must be a size such as 5GB or 1GiB, got " + text);
  }

  String path(String given, String key) {
    return Locations.resolve(folder, given, key);
  }

  <T> Optional<T> fail(String key, String message, Located given) {
    problem(key, message, given);
    return Optional.empty();
  }

  void problem(String key, String message, Located given) {
    problems.add(new Problem(key, message + ", got " + given.value().shown(), given.where()));
  }
}
