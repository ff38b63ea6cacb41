package org.sparkpeft.federated.config;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
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
          "heads",
          "search",
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

  private final Path folder;
  private final List<Problem> problems;
  private final String source;
  private final MergeFields fields;

  private MergeRecipeReader(Path folder, String source, List<Problem> problems) {
    this.folder = folder;
    this.source = source;
    this.problems = problems;
    this.fields = new MergeFields(folder, problems);
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

  /**
   * A number of bytes: {@code 5GB}, {@code 1GiB}, {@code 4096}.
   *
   * @throws ConfigException if it is none
   */
  public static long bytes(String text, String key) {
    return MergeFields.bytes(text, key);
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
    String method = fields.text(root, "method", "");
    Set<String> allowed = parameters(method);
    known.addAll(allowed);
    fields.refuseUnknown(root, known, "");
    List<MergeRecipe.Model> models = new ArrayList<>();
    for (Located item : fields.list(root, "models")) {
      if (item.value() instanceof Mapping entry) {
        Set<String> keys = new TreeSet<>(allowed);
        keys.removeAll(Set.of("lambda", "normalize", "t", "decay", "threshold", "alpha"));
        keys.add("path");
        evidenceKey(method).ifPresent(keys::add);
        fields.refuseUnknown(entry, keys, "models.");
        models.add(
            model(
                fields.text(entry, "path", ""),
                item,
                fields.values(entry, allowed, "models."),
                evidence(entry, method)));
      } else {
        models.add(model(fields.scalar(item, "models"), item, Map.of(), ""));
      }
    }
    MergeRecipe.Options defaults = MergeRecipe.Options.defaults();
    MergeRecipe.Options options =
        new MergeRecipe.Options(
            fields.path(fields.text(root, "out", ""), "out"),
            fields.text(root, "dtype", ""),
            fields.text(root, "trim", defaults.trim()),
            fields.text(root, "rescale", defaults.rescale()),
            (int) fields.whole(root, "rank", 0),
            fields.whole(root, "seed", 0),
            fields.text(root, "heads", defaults.heads()),
            fields.bytes(root, "max_shard_size", defaults.maxShardBytes()),
            fields.bytes(root, "memory", defaults.memoryBytes()),
            (int) fields.whole(root, "threads", 0));
    Set<String> shared = new TreeSet<>(allowed);
    shared.remove("rescale");
    return new MergeRecipe(
        models,
        List.of(),
        fields.path(fields.text(root, "base", ""), "base"),
        method,
        fields.values(root, shared, ""),
        options,
        false,
        root.get("search")
            .flatMap(
                given -> new SearchReader(folder, problems).read(given, method, options.seed())));
  }

  /** The key of the file that a method weighs a model by, if it does. */
  private static Optional<String> evidenceKey(String method) {
    return MergeKind.named(method).map(MergeKind::evidenceKey).filter(key -> !key.isEmpty());
  }

  private String evidence(Mapping model, String method) {
    return evidenceKey(method).map(key -> fields.path(fields.text(model, key, ""), key)).orElse("");
  }

  /** What may be set for a method; all for adapters' methods, which have no table. */
  private static Set<String> parameters(String method) {
    Optional<MergeKind> kind = MergeKind.named(method);
    return kind.map(MergeKind::parameters).orElse(Set.of("weight", "density", "gamma", "lambda"));
  }

  private MergeRecipe mergekit(Mapping root) {
    for (String key : List.of("tokenizer_source", "tokenizer", "chat_template")) {
      root.get(key)
          .filter(given -> !(given.value() instanceof Scalar s && s.text().equals("base")))
          .ifPresent(
              given ->
                  fields.problem(
                      key, "is not supported; the tokenizer is that of the base model", given));
    }
    Mapping rest = root.without("tokenizer_source").without("tokenizer").without("chat_template");
    fields.refuseUnknown(rest, MERGEKIT_KEYS, "");
    String method = fields.text(rest, "merge_method", "");
    if (MergeKind.named(method).isEmpty()) {
      rest.get("merge_method")
          .ifPresentOrElse(
              given ->
                  fields.problem(
                      "merge_method",
                      "must be one of " + String.join(", ", MergeKind.names()),
                      given),
              () -> problems.add(new Problem("merge_method", "is missing", source)));
    }
    Set<String> allowed = new TreeSet<>(parameters(method));
    List<MergeRecipe.Model> models = new ArrayList<>();
    for (Located item : fields.list(rest, "models")) {
      models.add(mergekitModel(item, Set.of("model", "parameters"), allowed, method));
    }
    List<MergeRecipe.Slice> slices = new ArrayList<>();
    for (Located item : fields.list(rest, "slices")) {
      slices.add(slice(item, allowed, method));
    }
    String dtype = fields.text(rest, "out_dtype", fields.text(rest, "dtype", ""));
    MergeRecipe.Options d = MergeRecipe.Options.mergekit();
    return new MergeRecipe(
        models,
        slices,
        fields.path(fields.text(rest, "base_model", ""), "base_model"),
        method,
        fields.section(rest, allowed, "parameters"),
        new MergeRecipe.Options(
            "",
            dtype,
            d.trim(),
            d.rescale(),
            0,
            0,
            d.heads(),
            d.maxShardBytes(),
            d.memoryBytes(),
            0),
        true,
        Optional.empty());
  }

  private MergeRecipe.Model mergekitModel(
      Located item, Set<String> keys, Set<String> allowed, String method) {
    if (!(item.value() instanceof Mapping entry)) {
      return model(fields.scalar(item, "models"), item, Map.of(), "");
    }
    Set<String> known = new TreeSet<>(keys);
    evidenceKey(method).ifPresent(known::add);
    fields.refuseUnknown(entry, known, "models.");
    return model(
        fields.text(entry, "model", ""),
        item,
        fields.section(entry, allowed, "parameters"),
        evidence(entry, method));
  }

  private MergeRecipe.Slice slice(Located item, Set<String> allowed, String method) {
    if (!(item.value() instanceof Mapping entry)) {
      fields.problem("slices", "must be sections with sources", item);
      return new MergeRecipe.Slice(List.of(), Map.of());
    }
    fields.refuseUnknown(entry, Set.of("sources", "parameters"), "slices.");
    List<MergeRecipe.Source> sources = new ArrayList<>();
    for (Located each : fields.list(entry, "sources")) {
      MergeRecipe.Model model =
          mergekitModel(each, Set.of("model", "layer_range", "parameters"), allowed, method);
      List<Integer> range = range(each);
      sources.add(new MergeRecipe.Source(model, range.get(0), range.get(1)));
    }
    return new MergeRecipe.Slice(sources, fields.section(entry, allowed, "parameters"));
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
    fields.problem("layer_range", "must be two whole numbers [first, after the last]", source);
    return List.of(0, 1);
  }

  private MergeRecipe.Model model(
      String path, Located item, Map<String, MergeValue> values, String evidence) {
    if (path.isEmpty()) {
      fields.problem("models", "each needs the path of a model", item);
    }
    return new MergeRecipe.Model(fields.path(path, "models"), values, evidence);
  }
}
