package org.sparkpeft.federated.config;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import org.sparkpeft.core.error.Problem;
import org.sparkpeft.federated.config.YamlValue.Located;
import org.sparkpeft.federated.config.YamlValue.Mapping;
import org.sparkpeft.federated.config.YamlValue.Sequence;
import org.sparkpeft.merge.recipe.SearchConfig;
import org.sparkpeft.merge.recipe.SearchTask;

/**
 * Reads the {@code search} section of a merge recipe. What describes a task (data, columns, head)
 * may stand in the section itself, or, for several tasks, in a list {@code tasks}, whose items take
 * from the section what they leave out.
 */
final class SearchReader {
  private static final String TASKS = "tasks";

  private final Path folder;
  private final List<Problem> problems;

  SearchReader(Path folder, List<Problem> problems) {
    this.folder = folder;
    this.problems = problems;
  }

  /**
   * @param section what the recipe has under {@code search}
   * @param mergeMethod the recipe's method, which decides some defaults
   * @param seed default of the search's
   */
  Optional<SearchConfig> read(Located section, String mergeMethod, long seed) {
    if (!(section.value() instanceof Mapping mapping)) {
      problems.add(
          new Problem(
              "search",
              "must be a section of keys, got " + section.value().shown(),
              section.where()));
      return Optional.empty();
    }
    Set<String> ofTask = RecordFields.of(SearchTask.class).keySet();
    Map<String, Located> shared = new LinkedHashMap<>();
    Map<String, Located> own = new LinkedHashMap<>();
    mapping
        .entries()
        .forEach((key, given) -> (ofTask.contains(key) ? shared : own).put(key, given));
    own.remove(TASKS);
    RecordBinder binder = new RecordBinder(problems);
    SearchConfig bound =
        (SearchConfig)
            binder.bind(
                seeded(SearchConfig.defaults(mergeMethod), seed),
                new Located(new Mapping(own), section.where()),
                "search.");
    if (!EvaluateConfig.SCORES.contains(bound.metric())) {
      problem(
          "search.metric",
          "must be one of " + String.join(", ", EvaluateConfig.SCORES),
          own.getOrDefault("metric", section));
    }
    SearchTask common =
        (SearchTask)
            binder.bind(
                SearchTask.defaults(),
                new Located(new Mapping(shared), section.where()),
                "search.");
    List<SearchTask> tasks = new ArrayList<>();
    Optional<Located> listed = mapping.get(TASKS);
    if (listed.isEmpty()) {
      tasks.add(placed(common, section));
    } else if (listed.get().value() instanceof Sequence sequence && !sequence.items().isEmpty()) {
      for (Located item : sequence.items()) {
        if (item.value() instanceof Mapping) {
          tasks.add(placed((SearchTask) binder.bind(common, item, "search.tasks."), item));
        } else {
          problem("search.tasks", "each must be a section with data and head", item);
        }
      }
    } else {
      problem("search.tasks", "must be a list of sections with data and head", listed.get());
    }
    return Optional.of(
        bound.withTasks(tasks, Locations.resolve(folder, bound.model(), "search.model")));
  }

  private static SearchConfig seeded(SearchConfig config, long seed) {
    return new SearchConfig(
        config.method(),
        config.over(),
        config.metric(),
        config.evaluations(),
        config.penalty(),
        seed,
        config.model(),
        config.weights(),
        config.density(),
        config.lambda(),
        config.tasks());
  }

  private SearchTask placed(SearchTask task, Located where) {
    if (task.data().isEmpty()) {
      problems.add(
          new Problem("search.data", "is missing; name the validation data", where.where()));
    }
    String data =
        task.format().equals(DataConfig.TABLE)
            ? task.data()
            : Locations.resolve(folder, task.data(), "search.data");
    return task.withPlaces(data, Locations.resolve(folder, task.head(), "search.head"));
  }

  private void problem(String key, String message, Located given) {
    problems.add(new Problem(key, message + ", got " + given.value().shown(), given.where()));
  }
}
