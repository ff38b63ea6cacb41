package org.sparkpeft.federated.config;

import java.io.IOException;
import java.nio.file.Files;
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
import org.sparkpeft.merge.recipe.MergeKind;
import org.sparkpeft.merge.recipe.MergeRecipe;
import org.sparkpeft.merge.recipe.MergeValue;

/**
 * Reads what to merge from YAML: ours, or mergekit's, which is known by its {@code merge_method}.
 * Every mistake is reported, all at once, with file and line; an unknown key is one.
 */
public final class MergeRecipeReader {
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

  private static final Set<String> OWN_KEYS =
      Set.of(
          "models",
          "base",
          "method",
          "out",
          "dtype",
          "trim",
          "rescale",
          "rank",
          "seed",
          "max_shard_size",
          "memory",
          "threads");

  private static final Set<String> MERGEKIT_KEYS =
      Set.of(
          "models",
          "slices",
          "base_model",
          "merge_method",
          "parameters",
          "dtype",
          "out_dtype",
          "name");

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
  private final String source;

  private MergeRecipeReader(Path folder, String source, List<Problem> problems) {
    this.folder = folder;
    this.source = source;
    this.problems = problems;
  }

  /**
   * Reads a file; relative paths start at its folder.
   *
   * @throws ConfigException with every problem found
   */
  public static MergeRecipe read(Path file) {
    try {
      if (!Files.isRegularFile(file)) {
        throw new ConfigException(List.of(new Problem("", "no such recipe", file.toString())));
      }
      Path folder = Optional.ofNullable(file.toAbsolutePath().getParent()).orElse(file);
      return parse(Files.readString(file), file.toString(), folder);
    } catch (IOException e) {
      throw new ConfigException(
          List.of(new Problem("", "cannot be read: " + e.getMessage(), file.toString())));
    }
  }

  /** Reads text. */
  static MergeRecipe parse(String yaml, String source, Path folder) {
    List<Problem> problems = new ArrayList<>();
    Optional<Located> root = new YamlParser(source, true, problems).parse(yaml);
    if (root.isEmpty() || !(root.get().value() instanceof Mapping mapping)) {
      throw new ConfigException(List.of(new Problem("", "must be keys and values", source)));
    }
    MergeRecipeReader reader = new MergeRecipeReader(folder, source, problems);
    Optional<MergeRecipe> recipe = Optional.empty();
    try {
      recipe =
          Optional.of(
              mapping.get("merge_method").isPresent() || mapping.get("slices").isPresent()
                  ? reader.mergekit(mapping)
                  : reader.own(mapping));
    } catch (ConfigException e) {
      e.problems().forEach(p -> problems.add(reader.placed(p, mapping)));
    }
    if (!problems.isEmpty()) {
      throw new ConfigException(problems);
    }
    return recipe.orElseThrow();
  }

  private Problem placed(Problem problem, Mapping mapping) {
    return problem.where().isEmpty()
        ? problem.at(mapping.get(problem.key()).map(Located::where).orElse(source))
        : problem;
  }

  private MergeRecipe own(Mapping root) {
    Set<String> known = new TreeSet<>(OWN_KEYS);
    String method = text(root, "method", "");
    Set<String> allowed = parameters(method);
    known.addAll(allowed);
    refuseUnknown(root, known, "");
    List<MergeRecipe.Model> models = new ArrayList<>();
    for (Located item : list(root, "models")) {
      if (item.value() instanceof Mapping entry) {
        Set<String> keys = new TreeSet<>(allowed);
        keys.removeAll(Set.of("lambda", "normalize", "t", "decay", "threshold"));
        keys.add("path");
        refuseUnknown(entry, keys, "models.");
        models.add(model(text(entry, "path", ""), item, values(entry, allowed, "models.")));
      } else {
        models.add(model(scalar(item, "models"), item, Map.of()));
      }
    }
    MergeRecipe.Options defaults = MergeRecipe.Options.defaults();
    MergeRecipe.Options options =
        new MergeRecipe.Options(
            path(text(root, "out", ""), "out"),
            text(root, "dtype", ""),
            text(root, "trim", defaults.trim()),
            text(root, "rescale", defaults.rescale()),
            (int) whole(root, "rank", 0),
            whole(root, "seed", 0),
            bytes(root, "max_shard_size", defaults.maxShardBytes()),
            bytes(root, "memory", defaults.memoryBytes()),
            (int) whole(root, "threads", 0));
    Set<String> shared = new TreeSet<>(allowed);
    shared.remove("rescale");
    return new MergeRecipe(
        models,
        List.of(),
        path(text(root, "base", ""), "base"),
        method,
        values(root, shared, ""),
        options,
        false);
  }

  /** What may be set for a method; all for adapters' methods, which have no table. */
  private static Set<String> parameters(String method) {
    Optional<MergeKind> kind = MergeKind.named(method);
    return kind.map(MergeKind::parameters).orElse(Set.of("weight", "density"));
  }

  private MergeRecipe mergekit(Mapping root) {
    for (String key : List.of("tokenizer_source", "tokenizer", "chat_template")) {
      root.get(key)
          .filter(given -> !(given.value() instanceof Scalar s && s.text().equals("base")))
          .ifPresent(
              given ->
                  problem(key, "is not supported; the tokenizer is that of the base model", given));
    }
    Mapping rest = root.without("tokenizer_source").without("tokenizer").without("chat_template");
    refuseUnknown(rest, MERGEKIT_KEYS, "");
    String method = text(rest, "merge_method", "");
    if (MergeKind.named(method).isEmpty()) {
      rest.get("merge_method")
          .ifPresentOrElse(
              given ->
                  problem(
                      "merge_method",
                      "must be one of " + String.join(", ", MergeKind.names()),
                      given),
              () -> problems.add(new Problem("merge_method", "is missing", source)));
    }
    Set<String> allowed = new TreeSet<>(parameters(method));
    List<MergeRecipe.Model> models = new ArrayList<>();
    for (Located item : list(rest, "models")) {
      models.add(mergekitModel(item, Set.of("model", "parameters"), allowed));
    }
    List<MergeRecipe.Slice> slices = new ArrayList<>();
    for (Located item : list(rest, "slices")) {
      slices.add(slice(item, allowed));
    }
    String dtype = text(rest, "out_dtype", text(rest, "dtype", ""));
    MergeRecipe.Options d = MergeRecipe.Options.mergekit();
    return new MergeRecipe(
        models,
        slices,
        path(text(rest, "base_model", ""), "base_model"),
        method,
        section(rest, allowed, "parameters"),
        new MergeRecipe.Options(
            "", dtype, d.trim(), d.rescale(), 0, 0, d.maxShardBytes(), d.memoryBytes(), 0),
        true);
  }

  private MergeRecipe.Model mergekitModel(Located item, Set<String> keys, Set<String> allowed) {
    if (!(item.value() instanceof Mapping entry)) {
      return model(scalar(item, "models"), item, Map.of());
    }
    refuseUnknown(entry, keys, "models.");
    return model(text(entry, "model", ""), item, section(entry, allowed, "parameters"));
  }

  private MergeRecipe.Slice slice(Located item, Set<String> allowed) {
    if (!(item.value() instanceof Mapping entry)) {
      problem("slices", "must be sections with sources", item);
      return new MergeRecipe.Slice(List.of(), Map.of());
    }
    refuseUnknown(entry, Set.of("sources", "parameters"), "slices.");
    List<MergeRecipe.Source> sources = new ArrayList<>();
    for (Located each : list(entry, "sources")) {
      MergeRecipe.Model model =
          mergekitModel(each, Set.of("model", "layer_range", "parameters"), allowed);
      List<Integer> range = range(each);
      sources.add(new MergeRecipe.Source(model, range.get(0), range.get(1)));
    }
    return new MergeRecipe.Slice(sources, section(entry, allowed, "parameters"));
  }

  private List<Integer> range(Located source) {
    if (source.value() instanceof Mapping entry
        && entry.get("layer_range").map(Located::value).orElse(null) instanceof Sequence ends
        && ends.items().size() == 2) {
      List<Integer> numbers = new ArrayList<>();
      for (Located end : ends.items()) {
        if (end.value() instanceof Scalar scalar
            && scalar.kind() == Kind.INTEGER
            && scalar.integer().bitLength() < 31
            && scalar.integer().signum() >= 0) {
          numbers.add(scalar.integer().intValue());
        }
      }
      if (numbers.size() == 2 && numbers.get(0) < numbers.get(1)) {
        return numbers;
      }
    }
    problem("layer_range", "must be two whole numbers [first, after the last]", source);
    return List.of(0, 1);
  }

  private MergeRecipe.Model model(String path, Located item, Map<String, MergeValue> values) {
    if (path.isEmpty()) {
      problem("models", "each needs the path of a model", item);
    }
    return new MergeRecipe.Model(path(path, "models"), values);
  }

  private Map<String, MergeValue> section(Mapping parent, Set<String> allowed, String key) {
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

  private Map<String, MergeValue> values(Mapping mapping, Set<String> keys, String prefix) {
    Map<String, MergeValue> values = new TreeMap<>();
    for (String key : keys) {
      mapping
          .get(key)
          .flatMap(given -> value(prefix + key, key, given))
          .ifPresent(value -> values.put(key, value));
    }
    return values;
  }

  private Optional<MergeValue> value(String shown, String key, Located given) {
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

  private Optional<MergeValue> filtered(String shown, String key, List<Located> items) {
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

  private Optional<Double> number(String shown, String key, Located given, Scalar scalar) {
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

  private void refuseUnknown(Mapping mapping, Set<String> known, String prefix) {
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

  private List<Located> list(Mapping root, String key) {
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

  private String scalar(Located item, String key) {
    if (item.value() instanceof Scalar scalar && scalar.kind() == Kind.TEXT) {
      return scalar.text();
    }
    problem(key, "must be text", item);
    return "";
  }

  private String text(Mapping mapping, String key, String absent) {
    return mapping.get(key).map(given -> scalar(given, key)).orElse(absent);
  }

  private long whole(Mapping mapping, String key, long absent) {
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

  private long bytes(Mapping mapping, String key, long absent) {
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

  private String path(String given, String key) {
    return Locations.resolve(folder, given, key);
  }

  private <T> Optional<T> fail(String key, String message, Located given) {
    problem(key, message, given);
    return Optional.empty();
  }

  private void problem(String key, String message, Located given) {
    problems.add(new Problem(key, message + ", got " + given.value().shown(), given.where()));
  }
}
