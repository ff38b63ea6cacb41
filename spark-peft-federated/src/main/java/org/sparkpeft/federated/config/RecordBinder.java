package org.sparkpeft.federated.config;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.RecordComponent;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.Problem;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.federated.config.YamlValue.Kind;
import org.sparkpeft.federated.config.YamlValue.Located;
import org.sparkpeft.federated.config.YamlValue.Mapping;
import org.sparkpeft.federated.config.YamlValue.Scalar;

/**
 * Fills records from YAML: every key is a component, every component left out keeps its default.
 * Nothing is thrown on a mistake; all of them are collected, and what is broken is replaced by its
 * default so that the rest can still be checked.
 */
final class RecordBinder {
  private final List<Problem> problems;
  private final Set<String> broken = new TreeSet<>();

  RecordBinder(List<Problem> problems) {
    this.problems = problems;
  }

  /** Whether a component of this type is a section of its own. */
  static boolean isSection(Class<?> type) {
    return type.isRecord() && fromConfig(type).isEmpty();
  }

  /**
   * A record like {@code defaults} with the values of {@code section}.
   *
   * @param prefix dotted key of the section with a trailing dot; empty at the root
   */
  Record bind(Record defaults, Located section, String prefix) {
    Mapping mapping = (Mapping) section.value();
    Map<String, RecordComponent> fields = RecordFields.of(defaults.getClass());
    reportUnknown(mapping, fields.keySet(), prefix);
    Map<String, Object> values = new LinkedHashMap<>();
    fields.forEach(
        (key, field) -> {
          Object fallback = RecordFields.get(defaults, field);
          Object value =
              mapping
                  .get(key)
                  .flatMap(given -> component(field, fallback, given, prefix + key))
                  .orElse(fallback);
          values.put(key, value);
        });
    return construct(defaults, values, section, prefix);
  }

  private void reportUnknown(Mapping mapping, Set<String> known, String prefix) {
    mapping
        .entries()
        .forEach(
            (key, given) -> {
              if (!known.contains(key)) {
                problems.add(
                    new Problem(prefix + key, "unknown key; " + remedy(key, known), given.where()));
              }
            });
  }

  private static String remedy(String key, Set<String> known) {
    Optional<String> near = RecipeKeys.nearest(key, known);
    if (near.isPresent()) {
      return "did you mean " + near.get() + "?";
    }
    return RecipeKeys.endingWith(key)
        .map(elsewhere -> "did you mean " + elsewhere + "?")
        .orElse("known here: " + String.join(", ", known));
  }

  private Record construct(
      Record defaults, Map<String, Object> values, Located section, String prefix) {
    Class<? extends Record> type = defaults.getClass();
    try {
      return RecordFields.construct(type, values.values());
    } catch (ConfigException e) {
      Map<String, Object> repaired = new LinkedHashMap<>(values);
      Map<String, RecordComponent> fields = RecordFields.of(type);
      for (Problem problem : e.problems()) {
        // A check that looked at a broken key saw its default, so its verdict means nothing.
        if (broken.stream().anyMatch(key -> mentions(problem, prefix, key))) {
          continue;
        }
        report(new Problem(prefix + problem.key(), problem.message(), where(section, problem)));
        String first = problem.key().split("\\.", 2)[0];
        RecordComponent field = fields.get(first);
        if (field != null) {
          repaired.put(first, RecordFields.get(defaults, field));
        }
      }
      try {
        return RecordFields.construct(type, repaired.values());
      } catch (ConfigException again) {
        return defaults;
      }
    }
  }

  private static boolean mentions(Problem problem, String prefix, String brokenKey) {
    if (!brokenKey.startsWith(prefix)) {
      return false;
    }
    String key = brokenKey.substring(prefix.length());
    return problem.key().equals(key) || RecipeKeys.mentions(problem.message(), key);
  }

  /**
   * The place of the key a problem is about. Where that was left out, the place of a key that the
   * message speaks of, and else of the section.
   */
  private static String where(Located section, Problem problem) {
    return find(section, problem.key())
        .or(
            () ->
                RecipeKeys.all().stream()
                    .filter(key -> RecipeKeys.mentions(problem.message(), key))
                    .flatMap(key -> find(section, key).stream())
                    .findFirst())
        .orElse(section)
        .where();
  }

  /** What was given for a dotted key; the dots may be part of the name of a map's entry. */
  private static Optional<Located> find(Located section, String key) {
    if (!(section.value() instanceof Mapping mapping)) {
      return Optional.empty();
    }
    String[] parts = key.split("\\.", 2);
    return mapping
        .get(key)
        .or(() -> mapping.get(parts[0]).flatMap(next -> find(next, parts[parts.length - 1])));
  }

  private Optional<Object> component(
      RecordComponent field, Object fallback, Located given, String key) {
    Class<?> type = field.getType();
    if (given.value() instanceof Scalar scalar && scalar.kind() == Kind.NULL) {
      return fail(key, "has no value; give one or remove the key", given);
    }
    if (type == PeftConfig.class) {
      return peft(given, key);
    }
    if (isSection(type)) {
      return given.value() instanceof Mapping
          ? Optional.of(bind((Record) fallback, given, key + "."))
          : fail(key, "must be a section of keys", given);
    }
    Optional<Method> fromConfig = fromConfig(type);
    if (fromConfig.isPresent()) {
      return convert(fromConfig.get(), given, key);
    }
    // A text that may also be true or false, as init_lora_weights, is written without quotes.
    if (type == String.class
        && Set.of("true", "false").contains(fallback)
        && given.value() instanceof Scalar scalar
        && scalar.kind() == Kind.BOOLEAN) {
      return Optional.of(String.valueOf(scalar.isTrue()));
    }
    ScalarTypes.Result result = ScalarTypes.read(field.getGenericType(), given, key);
    result.problems().forEach(this::report);
    return result.value();
  }

  private Optional<Object> peft(Located given, String key) {
    if (!(given.value() instanceof Mapping mapping)) {
      return fail(key, "must be a section of keys", given);
    }
    Map<String, PeftConfig> types = PeftTypes.defaults();
    Located named =
        mapping
            .get(PeftTypes.KEY)
            .orElse(new Located(new Scalar(Kind.TEXT, "LORA"), given.where()));
    PeftConfig defaults = named.value() instanceof Scalar scalar ? types.get(scalar.text()) : null;
    if (defaults == null) {
      String known =
          (named.value() instanceof Scalar scalar
                  ? RecipeKeys.nearest(scalar.text(), types.keySet())
                  : Optional.<String>empty())
              .map(near -> "did you mean " + near + "?")
              .orElse("known are " + String.join(", ", types.keySet()));
      return fail(key + "." + PeftTypes.KEY, "no method has this name; " + known, named);
    }
    Located rest = new Located(mapping.without(PeftTypes.KEY), given.where());
    return Optional.of(bind((Record) defaults, rest, key + "."));
  }

  private Optional<Object> convert(Method fromConfig, Located given, String key) {
    try {
      return Optional.of(fromConfig.invoke(null, YamlValue.plain(given.value())));
    } catch (InvocationTargetException e) {
      if (e.getCause() instanceof ConfigException wrong) {
        wrong.problems().forEach(p -> report(new Problem(key, p.message(), given.where())));
        return Optional.empty();
      }
      throw new IllegalStateException(fromConfig + " failed", e.getCause());
    } catch (IllegalAccessException e) {
      throw new IllegalStateException(fromConfig + " is not public", e);
    }
  }

  private static Optional<Method> fromConfig(Class<?> type) {
    try {
      return Optional.of(type.getMethod("fromConfig", Object.class));
    } catch (NoSuchMethodException e) {
      return Optional.empty();
    }
  }

  private Optional<Object> fail(String key, String message, Located given) {
    report(new Problem(key, message + ", got " + given.value().shown(), given.where()));
    return Optional.empty();
  }

  private void report(Problem problem) {
    broken.add(problem.key());
    problems.add(problem);
  }
}
