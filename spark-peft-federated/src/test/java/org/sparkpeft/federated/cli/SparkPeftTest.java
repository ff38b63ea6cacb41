package org.sparkpeft.federated.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.tuple;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletionException;
import java.util.stream.Stream;
import org.apache.spark.SparkException;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.metric.TextMetric;
import org.sparkpeft.federated.cli.Actions.AdapterSource;
import org.sparkpeft.federated.cli.Actions.EvaluateRequest;
import org.sparkpeft.federated.cli.Actions.GenerateRequest;
import org.sparkpeft.federated.cli.Actions.InputData;
import org.sparkpeft.federated.cli.Actions.PredictRequest;
import org.sparkpeft.federated.cli.Actions.ProxyInput;
import org.sparkpeft.federated.cli.Actions.TrainOptions;
import org.sparkpeft.federated.config.GenerateConfig;
import org.sparkpeft.federated.config.ModelConfig;
import org.sparkpeft.federated.config.Recipe;
import org.sparkpeft.federated.config.RecipeReader;
import org.sparkpeft.federated.config.RecipeWriter;
import picocli.CommandLine;

class SparkPeftTest {
  private final FakeActions actions = new FakeActions();

  @TempDir private Path folder;

  @BeforeEach
  void writeRecipe() throws IOException {
    Files.writeString(folder.resolve("r.yaml"), "data: {train: a.json, test: b.json}\n");
  }

  private SparkPeft line() {
    PrintStream nowhere =
        new PrintStream(new ByteArrayOutputStream(), true, StandardCharsets.UTF_8);
    Map<String, String> variables = Map.of("SPARK_PEFT_CACHE", folder.resolve("cache").toString());
    return new SparkPeft(actions, new Shell(folder, variables, nowhere));
  }

  private CommandResult run(String... args) {
    return line().run(args);
  }

  @Test
  void trainReadsItsRecipeAndPassesItOn() {
    CommandResult result =
        run(
            "train",
            "-c",
            "r.yaml",
            "--set",
            "train.local_epochs=2",
            "--set",
            "run.name=x",
            "--master",
            "local[3]",
            "--resume");

    assertThat(result.exitCode()).isZero();
    assertThat(result.output()).isEqualTo("done train");
    assertThat(actions.asked).startsWith("train").endsWith(new TrainOptions(true, false));
    Recipe recipe = (Recipe) actions.asked.get(1);
    assertThat(recipe.train().localEpochs()).isEqualTo(2);
    assertThat(recipe.spark().master()).isEqualTo("local[3]");
    assertThat(recipe.run().dir()).isEqualTo(folder.resolve("runs/x").toString());
    assertThat(recipe.data().train()).isEqualTo(folder.resolve("a.json").toString());
  }

  @Test
  void aDryRunIsPassedOn() {
    run("train", "-c", "r.yaml", "--dry-run");

    assertThat(actions.asked).endsWith(new TrainOptions(false, true));
  }

  @Test
  void quickstartNeedsNoRecipeAndRunsInTheWorkingDirectory() {
    run("quickstart");
    assertThat(((Recipe) actions.asked.get(1)).run().dir())
        .isEqualTo(folder.resolve("runs/quickstart").toString());

    actions.asked.clear();
    run("quickstart", "--dir", "it's here: #1", "--set", "rounds.count=2");
    Recipe recipe = (Recipe) actions.asked.get(1);
    assertThat(recipe.run().dir()).isEqualTo(folder.resolve("it's here: #1").toString());
    assertThat(recipe.rounds().count()).isEqualTo(2);
  }

  @Test
  void optionsOfOneRunDoNotLingerInTheNext() {
    SparkPeft line = line();
    line.run("train", "-c", "r.yaml", "--resume", "--set", "run.seed=9", "--json");
    CommandResult second = line.run("train", "-c", "r.yaml");

    assertThat(second.output()).isEqualTo("done train");
    assertThat(actions.asked.get(5)).isEqualTo(new TrainOptions(false, false));
    assertThat(((Recipe) actions.asked.get(4)).run().seed()).isEqualTo(7);
  }

  @ParameterizedTest
  @CsvSource({"--json train -c r.yaml", "train --json -c r.yaml", "train -c r.yaml --json"})
  void jsonIsOneObjectWhereverItIsAsked(String arguments) {
    assertThat(run(arguments.split(" ", -1)).output()).isEqualTo("{\"accuracy\":0.5,\"rounds\":3}");
  }

  static Stream<Arguments> failures() {
    ConfigException config = new ConfigException("train.batch_size", "must be 1..65536, got 0");
    return Stream.of(
        Arguments.of(config, 2, "train.batch_size: must be 1..65536, got 0"),
        Arguments.of(new DataException("no column label"), 3, "no column label"),
        Arguments.of(new FormatException("x.bin", 7, "bad magic"), 3, "x.bin at byte 7: bad magic"),
        Arguments.of(new CompletionException(new DataException("deep")), 3, "deep"),
        Arguments.of(new IllegalStateException("no workers"), 1, "no workers"),
        Arguments.of(
            new UnsupportedOperationException("odd"),
            1,
            "UnsupportedOperationException: odd%n(--verbose shows where)".formatted()),
        Arguments.of(
            new NullPointerException(),
            1,
            "NullPointerException: %n(--verbose shows where)".formatted()));
  }

  @ParameterizedTest
  @MethodSource("failures")
  void aFailureHasItsExitCodeAndNoStackTrace(RuntimeException thrown, int code, String message) {
    actions.failure = Optional.of(thrown);

    CommandResult result = run("train", "-c", "r.yaml");

    assertThat(result.exitCode()).isEqualTo(code);
    assertThat(result.error()).isEqualTo(message);
    assertThat(result.output()).isEmpty();
    assertThat(run("train", "-c", "r.yaml", "--verbose").error()).contains("    at org.sparkpeft");
  }

  @Test
  void aRingOfCausesEnds() {
    RuntimeException a = new RuntimeException("a");
    a.initCause(new RuntimeException("b", a));
    actions.failure = Optional.of(a);

    assertThat(run("train", "-c", "r.yaml", "--verbose").exitCode()).isEqualTo(1);
  }

  @Test
  void problemsAreJsonToo() {
    CommandResult result = run("train", "-c", "r.yaml", "--set", "run.seed=x", "--json");

    assertThat(result.exitCode()).isEqualTo(2);
    assertThat(result.output())
        .contains("\"exit_code\":2")
        .contains("\"key\":\"run.seed\"")
        .contains("\"where\":\"--set run.seed\"");
    assertThat(run("train", "--json").output()).contains("\"exit_code\":2");
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "train | Missing required option: '--config=RECIPE'",
        "train -c r.yaml --resum | Possible solutions: --resume",
        "trian | spark-peft train?",
        "train -c none.yaml | none.yaml: no such recipe",
        "train -c r.yaml --set x | --set: must be key=value, got x",
        "evaluate | --run, --adapter: give one of the two, got neither",
        "evaluate --run a --adapter b --model c | --run, --adapter: give one of the two, got both",
        "evaluate --adapter b | --model: --adapter needs its base model, got nothing",
        "evaluate --run b --model m | --model: belongs to --adapter, got m",
        "evaluate --run b | --run: is no folder of a run",
        "generate --model m --text a --proxy s | --proxy: needs --proxy-adapter, or --proxy-base",
        "generate --model m --text a --proxy-adapter p | --proxy-adapter and --proxy-base need it",
        "generate --model m --text a --proxy-alpha NaN | --proxy-alpha: must be finite",
        "evaluate --adapter b --model m | --data: name the data to evaluate on, got nothing",
        "evaluate --adapter b --model m --data d --task x | task: must be one of",
        "evaluate --adapter b --model m --data d --metrics wer,bleu | --metrics: each must be one of"
            + " exact_match, gsm8k, rouge_l, wer; what needs no texts is always shown, got bleu",
        "evaluate --adapter b --model m --data d --set run.seed=3 | --set: changes the recipe",
        "predict --run r | --text, --file, --data: give one of the three, got none",
        "predict --run r --text a --data d | --text, --file, --data: give one of the three, got several",
        "predict --run r --file a --text b | --text, --file, --data: give one of the three, got several",
        "predict --run r --data d | --out: --data needs a place for its predictions, got nothing",
        "predict --run r --text a --out o | --out: belongs to --data, got o",
        "cluster start --workers 0 | --workers: must be 1..1000, got 0",
        "cluster start --memory much | --memory: must be like 512m or 2g, got much",
        "cluster | Usage: spark-peft cluster",
        "'' | Unmatched argument",
      })
  void aWrongCommandLineIsExplained(String arguments, String message) {
    CommandResult result = run(arguments.split(" ", -1));

    assertThat(result.exitCode()).isEqualTo(2);
    assertThat(result.error()).contains(message);
    assertThat(actions.asked).isEmpty();
  }

  @Test
  void everyCommandHelps() {
    List<List<String>> commands = new ArrayList<>();
    collect(line().commandLine(), List.of(), commands);

    assertThat(commands).hasSize(24);
    for (List<String> command : commands) {
      List<String> arguments = new ArrayList<>(command);
      arguments.add("--help");
      CommandResult result = run(arguments.toArray(String[]::new));
      assertThat(result.exitCode()).as("%s", command).isZero();
      assertThat(result.output())
          .as("%s", command)
          .startsWith("Usage: " + String.join(" ", "spark-peft", String.join(" ", command)).strip())
          .contains("--json", "--verbose");
    }
  }

  private static void collect(CommandLine line, List<String> path, List<List<String>> all) {
    all.add(path);
    line.getSubcommands()
        .forEach(
            (name, subcommand) -> {
              List<String> longer = new ArrayList<>(path);
              longer.add(name);
              collect(subcommand, longer, all);
            });
  }

  @Test
  void evaluateTakesTheTestDataOfARun() throws IOException {
    Path run = finishedRun();

    assertThat(run("evaluate", "--run", "moved", "--master", "local[1]").error()).isEmpty();

    EvaluateRequest request = (EvaluateRequest) actions.asked.get(1);
    Recipe recipe = ((AdapterSource.FromRun) request.source()).recipe();
    assertThat(recipe.run().dir()).isEqualTo(run.toString());
    assertThat(request.data()).isEmpty();
    assertThat(request.spark().master()).isEqualTo("local[1]");
  }

  @Test
  void evaluateComparesTexts() {
    run(
        "evaluate",
        "--adapter",
        "a",
        "--model",
        "m",
        "--data",
        "d.json",
        "--text",
        "q",
        "--text-pair",
        "a",
        "--metrics",
        "wer,exact_match",
        "--generation",
        "max_new_tokens=9",
        "--max-examples",
        "7");

    EvaluateRequest request = (EvaluateRequest) actions.asked.get(1);
    assertThat(request.texts()).containsExactly(TextMetric.WER, TextMetric.EXACT_MATCH);
    assertThat(request.generate())
        .isEqualTo(new GenerateConfig(0, 7, Map.of("max_new_tokens", "9"), "", 1));
    assertThat(request.generate().typed()).isEqualTo(Map.of("max_new_tokens", 9));
    assertThat(request.data().orElseThrow().textPair()).isEqualTo("a");
  }

  @Test
  void aProxyIsAModelWithAnAdapterOrWithTheOneItCameFrom() {
    run(
        "generate",
        "--model",
        "large",
        "--text",
        "a",
        "--proxy",
        "small",
        "--proxy-adapter",
        "p",
        "--proxy-alpha",
        "0.5");
    run(
        "generate",
        "--model",
        "large",
        "--text",
        "a",
        "--proxy",
        "small",
        "--proxy-base",
        "/b",
        "--perplexity");
    assertThat(actions.asked)
        .filteredOn(GenerateRequest.class::isInstance)
        .map(GenerateRequest.class::cast)
        .extracting(GenerateRequest::proxy, GenerateRequest::perplexity)
        .containsExactly(
            tuple(
                Optional.of(
                    new ProxyInput(
                        folder.resolve("small").toString(),
                        folder.resolve("p").toString(),
                        "",
                        0.5)),
                false),
            tuple(
                Optional.of(new ProxyInput(folder.resolve("small").toString(), "", "/b", 1)),
                true));
  }

  @Test
  void columnsLeftOutAreThoseOfTheRun() throws IOException {
    finishedRun();

    run("evaluate", "--run", "moved", "--data", "new.csv", "--label", "intent");

    assertThat(((EvaluateRequest) actions.asked.get(1)).data())
        .contains(
            new InputData(
                folder.resolve("new.csv").toString(),
                "csv",
                Map.of("header", "true"),
                "body",
                "",
                "",
                "intent",
                ""));

    run("evaluate", "--run", "moved", "--data", "new.csv", "--task-column", "dialect");
    assertThat(((EvaluateRequest) actions.asked.get(3)).data())
        .map(InputData::task)
        .contains("dialect");
  }

  @Test
  void predictTakesAnAdapterOnItsOwn() {
    run(
        "predict",
        "--adapter",
        "a",
        "--model",
        "bundled:m",
        "--labels",
        "no,yes",
        "--max-length",
        "9",
        "--data",
        "hdfs://x/d.json",
        "--out",
        "o",
        "--text-column",
        "body");

    assertThat(actions.asked.get(1))
        .isEqualTo(
            new PredictRequest(
                new AdapterSource.FromDirectory(
                    folder.resolve("a").toString(),
                    new ModelConfig("bundled:m", "text-classification", 9, "auto", false),
                    List.of("no", "yes")),
                List.of(),
                List.of(),
                "",
                Optional.of(
                    new InputData(
                        "hdfs://x/d.json", "json", Map.of(), "body", "", "", "label", "")),
                folder.resolve("o").toString(),
                Recipe.defaults().spark()));
  }

  @Test
  void predictTakesNamedAdapters() {
    run(
        "predict",
        "--adapter",
        "a=x/a",
        "--adapter",
        "b-2=/y/b:-0.5",
        "--adapter",
        "c=z:1:2e-1",
        "--head",
        "b-2",
        "--model",
        "bundled:m",
        "--text",
        "t");

    assertThat(((PredictRequest) actions.asked.get(1)).source())
        .isEqualTo(
            new AdapterSource.Stack(
                List.of(
                    new AdapterSource.Named("a", folder.resolve("x/a").toString(), 1),
                    new AdapterSource.Named("b-2", "/y/b", -0.5f),
                    new AdapterSource.Named("c", folder.resolve("z:1").toString(), 0.2f)),
                new ModelConfig("bundled:m", "text-classification", 64, "auto", false),
                List.of(),
                "b-2"));
  }

  @ParameterizedTest
  @CsvSource({
    "--adapter a --adapter b,                several need names",
    "--adapter a=x --adapter a=y,            a name of its own",
    "--adapter a=x --head b,                 must be one of [a]",
    "--adapter x --head b,                   is for several adapters",
    "--adapter a=x:1.2.3,                    1.2.3 is no weight"
  })
  void namedAdaptersThatCannotBeAreRefused(String options, String message) {
    List<String> args = new ArrayList<>(List.of("evaluate", "--data", "d", "--model", "m"));
    args.addAll(List.of(options.strip().split(" ")));
    CommandResult result = run(args.toArray(String[]::new));
    assertThat(result.exitCode()).isEqualTo(2);
    assertThat(result.error()).contains(message);
  }

  @Test
  void textsKeepTheirOrder() throws IOException {
    finishedRun();

    run("predict", "--run", "moved", "--text", "b, c", "--text", "a");

    assertThat(((PredictRequest) actions.asked.get(1)).texts()).containsExactly("b, c", "a");
  }

  private Path finishedRun() throws IOException {
    Recipe recipe =
        RecipeReader.parse(
            "data: {train: a, test: b, format: csv, text: body, options: {header: true}}",
            "r.yaml",
            Path.of("/elsewhere"),
            List.of());
    Path run = Files.createDirectory(folder.resolve("moved"));
    Files.writeString(run.resolve("config.yaml"), RecipeWriter.write(recipe));
    return run;
  }

  @Test
  void versionsAndCompletionAreReal() {
    assertThat(run("version").output())
        .containsPattern("spark +\\d+\\.\\d+")
        .contains("pytorch ")
        .containsPattern("natives +cpu, bundled");
    assertThat(run("completion").output())
        .startsWith("#!/usr/bin/env bash")
        .contains("complete -F _complete_spark-peft");
    assertThat(run("cluster", "status").output()).isEqualTo("no cluster runs");
    assertThat(run("cluster", "stop", "--json").output()).isEqualTo("{\"ended\":0}");
  }

  @Test
  void whatSparkThrowsWithoutDeclaringItIsToldInOneLine() {
    String trace = "Job aborted\n\tat org.apache.spark.Somewhere";
    actions.failure =
        Optional.of(new SparkException(trace, new IllegalArgumentException("too\n  odd")));
    CommandResult odd = run("train", "-c", "r.yaml");
    assertThat(odd.exitCode()).isEqualTo(1);
    assertThat(odd.error())
        .startsWith("IllegalArgumentException: too odd")
        .contains("--verbose")
        .doesNotContain("Somewhere");
    assertThat(run("train", "-c", "r.yaml", "--verbose").error()).contains("Somewhere");

    DataException known = new DataException("no rows");
    actions.failure = Optional.of(new SparkException(trace, known));
    CommandResult bad = run("train", "-c", "r.yaml");
    assertThat(bad.exitCode()).isEqualTo(3);
    assertThat(bad.error()).isEqualTo("no rows");
    assertThat(bad.failure()).containsSame(known);
  }

  @Test
  void aJobThrowsWhatFailedAndElseReturns() {
    assertThatCode(() -> JobMain.run(line(), "train", "-c", "r.yaml")).doesNotThrowAnyException();

    RuntimeException thrown = new DataException("no rows");
    actions.failure = Optional.of(thrown);
    assertThatThrownBy(() -> JobMain.run(line(), "train", "-c", "r.yaml")).isSameAs(thrown);
    assertThatThrownBy(() -> JobMain.run(line()))
        .isInstanceOf(IllegalStateException.class)
        .hasMessageContaining("Usage: spark-peft");
  }
}
