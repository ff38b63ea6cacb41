package org.sparkpeft.federated.config;

import static java.util.Objects.requireNonNull;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.merge.recipe.MergeRecipe;
import org.sparkpeft.merge.recipe.MergeValue;
import org.sparkpeft.merge.recipe.SearchConfig;
import org.sparkpeft.merge.recipe.SearchTask;

class MergeRecipeReaderTest {
  private static final Path FOLDER = Path.of("/recipes");

  private static MergeRecipe parse(String yaml) {
    return MergeRecipeReader.parse(yaml, "m.yaml", FOLDER);
  }

  private static double value(MergeValue value, String tensor, double depth) {
    return value.at(tensor, depth).orElse(Double.NaN);
  }

  @Test
  void shippedRecipesAreRead() {
    MergeRecipe ties = MergeRecipeReader.read(Path.of("../conf/merge-ties.yaml"));
    assertThat(ties.method()).isEqualTo("ties");
    assertThat(ties.models()).hasSize(3);
    assertThat(ties.models().get(1).parameters().get("density"))
        .isEqualTo(new MergeValue.Constant(0.3));
    assertThat(ties.parameters().keySet())
        .containsExactlyInAnyOrder("weight", "density", "lambda", "normalize");
    assertThat(ties.base()).endsWith("/conf/models/base");
    MergeRecipe.Options options = ties.options();
    assertThat(options.out()).endsWith("/conf/merged/ties");
    assertThat(options.memoryBytes()).isEqualTo(1L << 30);
    assertThat(options.maxShardBytes()).isEqualTo(5_000_000_000L);
    assertThat(options.seed()).isEqualTo(7);
    assertThat(options.dtype()).isEqualTo("bfloat16");

    MergeRecipe adapters = MergeRecipeReader.read(Path.of("../conf/merge-adapters.yaml"));
    assertThat(adapters.method()).isEqualTo("svd");
    assertThat(adapters.options().rank()).isEqualTo(16);
    assertThat(adapters.models().get(1).parameters().get("weight"))
        .isEqualTo(new MergeValue.Constant(0.4));
  }

  @Test
  void theShippedSearchIsRead() {
    MergeRecipe recipe = MergeRecipeReader.read(Path.of("../conf/merge-search.yaml"));
    assertThat(recipe.options().heads()).isEqualTo("drop");
    SearchConfig search = recipe.search().orElseThrow();
    assertThat(search.method()).isEqualTo("cma_es");
    assertThat(search.over()).containsExactly("weights", "lambda");
    assertThat(search.evaluations()).isEqualTo(60);
    assertThat(search.seed()).isEqualTo(7);
    assertThat(search.penalty()).isZero();
    assertThat(search.model()).endsWith("/conf/models/base");
    assertThat(search.weights()).isEqualTo(new SearchConfig.Range(List.of(0., .5, 1.), 0, 2, .25));
    assertThat(search.lambda().low()).isEqualTo(0.2);
    assertThat(search.tasks()).hasSize(2);
    SearchTask travel = search.tasks().get(1);
    assertThat(travel.data()).endsWith("/conf/data/travel-validation.jsonl");
    assertThat(travel.head()).endsWith("/conf/adapters/travel");
    assertThat(travel.label()).isEqualTo("topic");
    assertThat(search.tasks().get(0).label()).isEqualTo("label");
  }

  @Test
  void filesThatModelsAreWeighedByStandBesideThem() {
    MergeRecipe own =
        parse(
            """
            method: fisher
            models:
              - {path: a, fisher: f/a.safetensors, weight: 2}
              - {path: b, fisher: /f/b.safetensors}
            normalize: false
            """);
    assertThat(own.models())
        .extracting(MergeRecipe.Model::evidence)
        .containsExactly("/recipes/f/a.safetensors", "/f/b.safetensors");
    MergeRecipe mergekit =
        parse(
            """
            merge_method: regmean
            models:
              - {model: a, gram: a.safetensors}
              - {model: b, gram: b.safetensors}
            parameters: {alpha: 0.5}
            """);
    assertThat(mergekit.models().get(1).evidence()).isEqualTo("/recipes/b.safetensors");
    assertThat(mergekit.parameters()).containsKey("alpha");
    assertThat(mergekit.with(Map.of(), mergekit.options(), Optional.empty()).models())
        .isEqualTo(mergekit.models());
    assertThatThrownBy(() -> parse("method: ties\nmodels: [{path: a, gram: x}, b]\n"))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("gram");
  }

  @Test
  void aSearchHasDefaultsOfItsMethodAndItsOwnValues() {
    String recipe = "method: %s\nmodels: [a, b]\nsearch: {data: v.csv, format: csv}\n";
    SearchConfig plain = parse(recipe.formatted("svd")).search().orElseThrow();
    assertThat(plain.withTasks(List.of(), ""))
        .isEqualTo(SearchConfig.defaults("svd"))
        .isNotEqualTo(SearchConfig.defaults("lorahub"));
    assertThat(plain.tasks())
        .singleElement()
        .satisfies(task -> assertThat(task.format()).isEqualTo("csv"));
    SearchConfig hub = parse(recipe.formatted("lorahub")).search().orElseThrow();
    assertThat(hub.metric()).isEqualTo("loss");
    assertThat(hub.minimises()).isTrue();
    assertThat(hub.penalty()).isEqualTo(0.05);
    assertThat(hub.weights().low()).isEqualTo(-1.5);
    SearchConfig all =
        parse(
                """
                method: pcb
                models: [a, b]
                search:
                  method: grid
                  over: [density]
                  metric: mcc
                  evaluations: 7
                  penalty: 0.5
                  seed: 9
                  model: bundled:x
                  weights: {values: [2], low: 1, high: 3, step: 0.5}
                  density: {values: [0.5], low: 0.4, high: 0.9, step: 0.1}
                  lambda: {values: [3], low: 2, high: 4, step: 0.2}
                  data: t
                  format: table
                  options: {a: b}
                  text: x
                  text_pair: y
                  label: z
                  task_column: w
                  head: h
                  labels: [p, q]
                  task: multi-label-classification
                  pooling: cls
                  max_length: 99
                """)
            .search()
            .orElseThrow();
    assertThat(all)
        .isEqualTo(
            new SearchConfig(
                "grid",
                List.of("density"),
                "mcc",
                7,
                0.5,
                9,
                "bundled:x",
                new SearchConfig.Range(List.of(2.0), 1, 3, 0.5),
                new SearchConfig.Range(List.of(0.5), 0.4, 0.9, 0.1),
                new SearchConfig.Range(List.of(3.0), 2, 4, 0.2),
                List.of(
                    new SearchTask(
                        "t",
                        "table",
                        Map.of("a", "b"),
                        "x",
                        "y",
                        "z",
                        "w",
                        all.tasks().get(0).head(),
                        List.of("p", "q"),
                        "multi-label-classification",
                        "cls",
                        99))));
    assertThat(all.tasks().get(0).head()).endsWith("/h");
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "search: 3|search: must be a section of keys",
        "search: {method: grid}|search.data: is missing",
        "search: {data: v, metod: grid}|search.metod: unknown key; did you mean method?",
        "search: {data: v, method: random}|search.method: must be one of grid, nelder_mead, cma_es",
        "search: {data: v, over: [rank]}|search.over: must be one or more of weights",
        "search: {data: v, metric: bleu}|search.metric: must be one of accuracy",
        "search: {data: v, evaluations: 0}|search.evaluations: must be 1..100000, got 0",
        "search: {data: v, penalty: -1}|search.penalty: must be 0 or above",
        "search: {data: v, weights: {low: 3, high: 1}}|search.weights.low: must be less than high",
        "search: {data: v, density: {high: 2}}|search.density: low, high and values must be in",
        "search: {tasks: []}|search.tasks: must be a list of sections",
        "search: {tasks: [v]}|search.tasks: each must be a section",
        "search: {tasks: [{head: a}]}|search.data: is missing",
        "search: {tasks: [{data: v, heed: a}]}|search.tasks.heed: unknown key; did you mean head?",
        "heads: none|heads: must be mean or drop"
      })
  void wrongSearchesAreRefusedWithTheirLine(String line, String message) {
    assertThatThrownBy(() -> parse("method: svd\nmodels: [a, b]\n" + line + "\n"))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining(message)
        .hasMessageContaining(":3: ");
  }

  @Test
  void mergekitsRecipe() {
    MergeRecipe recipe =
        parse(
            """
            models:
              - model: base
              - model: math
                parameters:
                  density: [1, 0.7, 0.1] # density gradient
                  weight: 1.0
              - model: /models/code
                parameters:
                  density: 0.33
                  weight:
                    - filter: mlp
                      value: 0.5
                    - value: [0, 0.3]
            merge_method: ties
            base_model: base
            parameters:
              normalize: true
              int8_mask: true
            dtype: float16
            """);
    assertThat(recipe.mergekit()).isTrue();
    assertThat(recipe.paths()).containsExactly("/recipes/base", "/recipes/math", "/models/code");
    assertThat(recipe.options().trim()).isEqualTo("tensor");
    assertThat(recipe.options().dtype()).isEqualTo("float16");
    MergeValue density = requireNonNull(recipe.models().get(1).parameters().get("density"));
    assertThat(value(density, "x", 0)).isEqualTo(1);
    assertThat(value(density, "x", 0.25)).isCloseTo(0.85, within(1e-12));
    assertThat(value(density, "x", 0.75)).isCloseTo(0.4, within(1e-12));
    assertThat(value(density, "x", 1)).isEqualTo(0.1);
    MergeValue weight = requireNonNull(recipe.models().get(2).parameters().get("weight"));
    assertThat(value(weight, "layers.3.mlp.up", 0.9)).isEqualTo(0.5);
    assertThat(value(weight, "layers.3.attn.q", 0.5)).isCloseTo(0.15, within(1e-12));
    assertThat(recipe.parameters()).containsKey("normalize").doesNotContainKey("int8_mask");
  }

  @Test
  void mergekitsSlices() {
    MergeRecipe recipe =
        parse(
            """
            slices:
              - sources:
                  - model: a
                    layer_range: [0, 4]
                  - model: b
                    layer_range: [2, 6]
            merge_method: slerp
            base_model: a
            parameters:
              t:
                - filter: self_attn
                  value: [0, 1]
                - value: 0.5
            dtype: bfloat16
            """);
    assertThat(recipe.slices()).hasSize(1);
    MergeRecipe.Source second = recipe.slices().get(0).sources().get(1);
    assertThat(second.model().path()).isEqualTo("/recipes/b");
    assertThat(second.from()).isEqualTo(2);
    assertThat(second.to()).isEqualTo(6);
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      value = {
        "parameters: {densty: 0.2}|m.yaml:3: parameters.densty: unknown key; did you mean density?",
        "parameters: {gamma: 0.2}|parameters.gamma: unknown key; this method does not have it",
        "parameters: {density: 0}|m.yaml:3: parameters.density: must be in (0, 1], got 0",
        "parameters: {density: 1.5}|must be in (0, 1], got 1.5",
        "parameters: {weight: .nan}|must be finite",
        "parameters: {weight: much}|must be a number, got `much`",
        "parameters: {density: []}|must not be empty",
        "tokenizer_source: union|tokenizer_source: is not supported",
        "dtype: int4|must be float32, float16 or bfloat16, got int4",
        "merge_methods: x|unknown key; did you mean merge_method?"
      })
  void mistakesAreSaidWithTheirPlace(String line, String message) {
    String yaml = "merge_method: ties\nmodels: [{model: a}, {model: b}]\n" + line + "\n";
    assertThatThrownBy(() -> parse(yaml))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining(message.replace('`', '"'));
  }

  @Test
  void allMistakesAtOnce() {
    assertThatThrownBy(
            () ->
                parse(
                    "method: ties\nmodels: [{path: a, densities: 1}, {weight: 1}]\nmemory: lots\n"
                        + "lamda: 1\n"))
        .hasMessageContaining("m.yaml:2: models.densities: unknown key; did you mean density?")
        .hasMessageContaining("each needs the path of a model")
        .hasMessageContaining("memory: must be a size such as 5GB")
        .hasMessageContaining("m.yaml:4: lamda: unknown key; did you mean lambda?");
    assertThatThrownBy(() -> parse("merge_method: tties\nmodels: [a, b]\n"))
        .hasMessageContaining("merge_method: must be one of linear, task_arithmetic, ties");
    assertThatThrownBy(() -> parse("method: ties\n")).hasMessageContaining("at least two models");
    assertThatThrownBy(() -> MergeRecipeReader.read(Path.of("none.yaml")))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("no such recipe");
  }

  @Test
  void sizes() {
    assertThat(MergeRecipeReader.bytes("5GB", "x")).isEqualTo(5_000_000_000L);
    assertThat(MergeRecipeReader.bytes("1.5 GiB", "x")).isEqualTo(3L << 29);
    assertThat(MergeRecipeReader.bytes("4096", "x")).isEqualTo(4096);
    assertThatThrownBy(() -> MergeRecipeReader.bytes("-1GB", "x")).hasMessageContaining("x");
  }
}
