package org.sparkpeft.federated.config;

import java.io.IOException;
import java.nio.charset.MalformedInputException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.Problem;
import org.sparkpeft.federated.config.YamlValue.Kind;
import org.sparkpeft.federated.config.YamlValue.Located;
import org.sparkpeft.federated.config.YamlValue.Mapping;
import org.sparkpeft.federated.config.YamlValue.Scalar;

/**
 * YAML to {@link Recipe}. What the file leaves out keeps its default; every mistake is reported,
 * all at once, as {@code file:line: key: message, got value}. Relative paths start at the recipe's
 * own folder, those of settings from the command line too.
 */
public final class RecipeReader {
  private RecipeReader() {}

  /**
   * Reads a recipe.
   *
   * @param settings values that replace those of the file, later ones first
   * @throws ConfigException with every problem found
   */
  public static Recipe read(Path file, List<Setting> settings) {
    Path folder = Optional.ofNullable(file.toAbsolutePath().getParent()).orElse(file);
    return parse(text(file), file.toString(), folder, settings);
  }

  public static Recipe read(Path file) {
    return read(file, List.of());
  }

  /**
   * Reads a recipe that is not a file of its own.
   *
   * @param source what the messages call the text
   * @param base folder that relative paths start at
   * @throws ConfigException with every problem found
   */
  public static Recipe parse(String yaml, String source, Path base, List<Setting> settings) {
    List<Problem> problems = new ArrayList<>();
    Located root =
        new YamlParser(source, true, problems)
            .parse(yaml)
            .filter(RecipeReader::isSomething)
            .orElse(new Located(new Mapping(Map.of()), source));
    if (!(root.value() instanceof Mapping mapping)) {
      throw new ConfigException(
          List.of(
              new Problem("", "must be sections of keys, got " + root.value().shown(), source)));
    }
    Mapping merged = apply(settings, mapping, problems);
    requireData(merged, source, problems);
    Recipe recipe =
        (Recipe)
            new RecordBinder(problems).bind(Recipe.defaults(), new Located(merged, source), "");
    if (!problems.isEmpty()) {
      problems.sort(Comparator.comparingInt(RecipeReader::line));
      throw new ConfigException(problems);
    }
    return place(recipe, merged, base);
  }

  private static String text(Path file) {
    try {
      if (!Files.isRegularFile(file)) {
        throw refuse(file, Files.exists(file) ? "is not a file" : "no such recipe");
      }
      // Bytes are at least characters, so this bounds what is read; the parser bounds characters.
      if (Files.size(file) > 4L * YamlParser.MAX_CHARACTERS) {
        throw refuse(file, "is too large for a recipe: " + Files.size(file) + " bytes");
      }
      return Files.readString(file);
    } catch (MalformedInputException e) {
      throw refuse(file, "is not UTF-8 text");
    } catch (IOException e) {
      throw refuse(file, "cannot be read: " + e.getMessage());
    }
  }

  private static ConfigException refuse(Path file, String message) {
    return new ConfigException(List.of(new Problem("", message, file.toString())));
  }

  private static boolean isSomething(Located root) {
    return !(root.value() instanceof Scalar scalar && scalar.kind() == Kind.NULL);
  }

  private static Mapping apply(List<Setting> settings, Mapping file, List<Problem> problems) {
    Mapping merged = file;
    for (Setting setting : settings) {
      // An empty value is the empty text, as in a shell; YAML would call it no value.
      Located value =
          setting.value().isBlank()
              ? new Located(new Scalar(Kind.TEXT, ""), setting.origin())
              : new YamlParser(setting.origin(), false, problems)
                  .parse(setting.value())
                  .orElse(new Located(new Scalar(Kind.NULL, ""), setting.origin()));
      merged = merged.with(RecipeKeys.path(setting.key()), value);
    }
    return merged;
  }

  /** Training on data nobody named, or evaluating nothing in silence, would be a bad surprise. */
  private static void requireData(Mapping root, String source, List<Problem> problems) {
    Optional<Located> data = root.get("data");
    if (data.isPresent() && !(data.get().value() instanceof Mapping)) {
      return;
    }
    Mapping keys = data.map(d -> (Mapping) d.value()).orElse(new Mapping(Map.of()));
    String where = data.map(Located::where).orElse(source);
    if (keys.get("train").isEmpty()) {
      problems.add(new Problem("data.train", "missing; name the training data", where));
    }
    if (keys.get("test").isEmpty()) {
      problems.add(
          new Problem(
              "data.test",
              "missing; name the test data, or write test: \"\" to train without evaluation",
              where));
    }
  }

  private static Recipe place(Recipe recipe, Mapping root, Path base) {
    boolean namesDir =
        root.get("run")
            .map(run -> run.value() instanceof Mapping keys && keys.get("dir").isPresent())
            .orElse(false);
    String dir = namesDir ? recipe.run().dir() : RunConfig.defaultDir(recipe.run().name());
    DataConfig data =
        recipe
            .data()
            .withTargetTokenizer(
                Locations.resolve(base, recipe.data().targetTokenizer(), "data.target_tokenizer"));
    GenerateConfig generate = recipe.evaluate().generate();
    String larger = Locations.resolve(base, generate.proxyFor(), "evaluate.generate.proxy_for");
    Recipe placed =
        recipe.withEvaluate(recipe.evaluate().withGenerate(generate.withProxyFor(larger)));
    return placed.withPlaces(
        recipe.run().withDir(Locations.resolve(base, dir, "run.dir")),
        recipe.model().withPath(Locations.resolve(base, recipe.model().path(), "model.path")),
        data.format().equals(DataConfig.TABLE)
            ? data
            : data.withPaths(
                Locations.resolve(base, data.train(), "data.train"),
                Locations.resolve(base, data.test(), "data.test")));
  }

  /** The line a problem is on; problems without one come last. */
  private static int line(Problem problem) {
    String digits = problem.where().replaceAll("^.*:(\\d{1,9})$", "$1");
    return digits.matches("\\d{1,9}") ? Integer.parseInt(digits) : Integer.MAX_VALUE;
  }
}
