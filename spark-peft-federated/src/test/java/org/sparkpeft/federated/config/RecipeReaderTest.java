package org.sparkpeft.federated.config;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.Problem;
import org.sparkpeft.core.peft.LoraConfig;
import org.sparkpeft.core.peft.TargetModules;

class RecipeReaderTest {
  private static final Path BASE = Path.of("/recipes");
  private static final String DATA = "data: {train: a.json, test: b.json}\n";

  @Test
  void anEmptySectionOfKeysKeepsEveryDefault() {
    Recipe recipe = read(DATA);

    assertThat(recipe)
        .isEqualTo(
            Recipe.defaults()
                .withPlaces(
                    new RunConfig("run", "/recipes/runs/run", 7),
                    ModelConfig.defaults(),
                    DataConfig.defaults().withPaths("/recipes/a.json", "/recipes/b.json")));
  }

  @Test
  void theDirectoryOfARunFollowsItsName() {
    assertThat(read("run: {name: snips}\n" + DATA).run().dir()).isEqualTo("/recipes/runs/snips");
  }

  @Test
  void tableNamesAreNotPaths() {
    Recipe recipe = read("data: {train: main.intents, test: main.held_out, format: table}");

    assertThat(recipe.data().train()).isEqualTo("main.intents");
    assertThat(recipe.data().test()).isEqualTo("main.held_out");
  }

  @Test
  void fiveMistakesAreReportedAtOnceWithTheirLines() {
    String yaml =
        """
        run: {name: snips}
        data:
          train: a.json
          test: b.json
        clients:
          count: 5
        train:
          local_epoch: 3
          batch_size: many
        rounds:
          clients_per_round: 9
        compress:
          uplink:
            codec: compeft
            density: 2
          downlink: {codec: zip}
        """;

    assertThat(problems(yaml))
        .containsExactly(
            "r.yaml:8: train.local_epoch: unknown key; did you mean local_epochs?",
            "r.yaml:9: train.batch_size: must be a whole number, got \"many\"",
            "r.yaml:11: rounds.clients_per_round: must be at most clients.count, which is 5, got 9",
            "r.yaml:15: compress.uplink.density: must be in (0, 1]; try 0.1, got 2.0",
            "r.yaml:16: compress.downlink.codec: must be one of compeft, topk, int8, fp16, none,"
                + " got zip");
  }

  @Test
  void aCrossCheckOfABrokenKeyIsNotReported() {
    assertThat(problems(DATA + "clients: {count: many}\nrounds: {clients_per_round: 30}"))
        .containsExactly("r.yaml:2: clients.count: must be a whole number, got \"many\"");
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "train: {batch_size: 8.0} | train.batch_size: must be a whole number, got 8.0",
        "train: {batch_size: '8'} | train.batch_size: must be a whole number, got \"8\"",
        "train: {batch_size: 3000000000} | train.batch_size: must fit 32 bits, got 3000000000",
        "train: {batch_size: [8]} | train.batch_size: must be a whole number, got a list",
        "train: {batch_size: } | train.batch_size: has no value; give one or remove the key, got"
            + " nothing",
        "train: {learning_rate: .nan} | train.learning_rate: must be a finite number, got .nan",
        "train: {length_buckets: yes} | train.length_buckets: must be true or false, got \"yes\"",
        "train: {clients_per_pass: 0} | train.clients_per_pass: must be auto or 1..64; 1 trains clients one by one, got 0",
        "train: {clients_per_pass: -3} | train.clients_per_pass: must be auto or 1..64; 1 trains clients one by one, got -3",
        "train: {clients_per_pass: 65} | train.clients_per_pass: must be auto or 1..64; 1 trains clients one by one, got 65",
        "train: {clients_per_pass: many} | train.clients_per_pass: must be auto or 1..64; 1 trains clients one by one, got many",
        "train: {clients_per_pass: 2.0} | train.clients_per_pass: must be auto or 1..64; 1 trains clients one by one, got 2.0",
        "run: {name: 7} | run.name: must be text; put it in quotes, got 7",
        "run: {seed: 99999999999999999999} | run.seed: must fit 64 bits, got 99999999999999999999",
        "run: 7 | run: must be a section of keys, got 7",
        "run: {name: a/b} | run.name: must be 1..100 letters, digits, dots, dashes or underscores,"
            + " got a/b",
        "evaluate: {metrics: accuracy} | evaluate.metrics: must be a list, in brackets, got"
            + " \"accuracy\"",
        "evaluate: {metrics: [f1]} | evaluate.metrics: each must be one of accuracy, macro_f1,"
            + " micro_f1, mcc, mse, pearson, perplexity,"
            + " reward_margin, reward_chosen, reward_rejected, loss, exact_match, gsm8k, rouge_l, wer, got f1",
        "evaluate: {metrics: [wer]} | evaluate.metrics: those that compare texts (exact_match,"
            + " gsm8k, rouge_l, wer) need references: model.task text-generation with"
            + " data.text_pair or a data.formatting with replies, or text2text-generation, got"
            + " [wer]",
        "evaluate: {generate: {max_examples: -1}} | evaluate.generate.max_examples: must be 0"
            + " (all) or above, got -1",
        "peft: {peft_type: LORRA} | peft.peft_type: no method has this name; did you mean LORA?, got \"LORRA\"",
        "peft: {target_modules: 7} | peft.target_modules: must be a list of module names or one"
            + " string, got 7",
        "peft: {rank_pattern: {query: 600}} | peft.rank_pattern.query: must be 1..512, got 600",
        "peft: {rank_pattern: {query: x}} | peft.rank_pattern.query: must be a whole number, got"
            + " \"x\"",
        "peft: {rank: 8} | peft.rank: unknown key; known here: r, lora_alpha, lora_dropout,"
            + " target_modules, exclude_modules, use_rslora, init_lora_weights, rank_pattern,"
            + " alpha_pattern, layers_to_transform, layers_pattern, use_dora, bias, lora_bias,"
            + " loraplus_lr_ratio, freeze_a, modules_to_save",
        "rounds: {batch_size: 8} | rounds.batch_size: unknown key; did you mean"
            + " train.batch_size?",
        "round: {count: 3} | round: unknown key; did you mean rounds?",
        "aggregate: {method: fedavgm} | aggregate.method: FedAvgM is method: fedavg with"
            + " server.momentum: 0.9, got fedavgm",
        "clients: {partition: column} | clients.column: partition column needs the name of the"
            + " column that holds the client, got \"\"",
        "model: {task: regression} | clients.partition: needs one label for each example, which"
            + " model.task regression has not; use column, iid or quantity, got dirichlet",
        "rounds: {clients_per_round: 3, participation: 0.5} | rounds.participation:"
            + " clients_per_round is set too; keep one of the two, got 0.5",
        "rounds: {min_clients: 21} | rounds.min_clients: must be at most the cohort that"
            + " rounds.clients_per_round, rounds.participation and clients.count give, which is 20,"
            + " got 21",
        "spark: {task_cpus: 3} | spark.task_cpus: spark.master local[2] has fewer cores, so no task"
            + " would ever start, got 3",
        "spark: {conf: {executor.memory: 4g}} | spark.conf.executor.memory: must start with"
            + " \"spark.\", got 4g",
        "spark: {conf: {spark.master: yarn}} | spark.conf.spark.master: has a key of its own:"
            + " master, got yarn",
        "rounds: {count: 3, count: 4} | count: is given twice, first at r.yaml:2",
      })
  void oneMistakeIsNamed(String line, String expected) {
    assertThat(problems(DATA + line)).containsExactly("r.yaml:2: " + expected);
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "data: {train: a, test: b, formatting: chatty} | data.formatting: must be one of alpaca,"
            + " columns, messages, prompt-completion, sharegpt, text, got chatty",
        "data: {train: a, test: b, formatting: alpaca} | data.formatting: is for model.task"
            + " text-generation and text2text-generation, got text-classification, got alpaca",
        "data: {train: a, test: b, columns: {prompt: q}} | data.columns: formatting columns has its"
            + " columns in text and text_pair, got {prompt=q}",
        "data: {train: a, test: b, chat_template: jinja} | data.chat_template: must be auto,"
            + " chatml, llama-3, llama-2, gemma, phi-3, zephyr, got jinja",
        "data: {train: a, test: b, train_on_prompt: true} | data.train_on_prompt: is for model.task"
            + " text-generation, got text-classification, got true",
        "data: {train: a, test: b, packing: true} | data.packing: is for model.task"
            + " text-generation, got text-classification, got true",
        "data: {train: a, test: b, target_tokenizer: /t} | data.target_tokenizer: is for model.task"
            + " text2text-generation, got text-classification, got /t",
      })
  void oneMistakeOfTheDataIsNamed(String line, String expected) {
    assertThat(problems(line)).containsExactly("r.yaml:1: " + expected);
  }

  @Test
  void theDataMustBeNamed() {
    assertThat(problems("run: {name: x}"))
        .containsExactly(
            "r.yaml: data.train: missing; name the training data",
            "r.yaml: data.test: missing; name the test data, or write test: \"\" to train without"
                + " evaluation");
    assertThat(problems("# nothing at all")).hasSize(2);
  }

  @Test
  void settingsReplaceValuesAndAreCited() {
    Recipe recipe =
        read(
            DATA + "compress: {uplink: {codec: topk, density: 0.3}}",
            "train.local_epochs=3",
            "compress.uplink.density=0.2",
            "peft.target_modules=[query, key]",
            "compress.downlink={codec: int8}",
            "spark.conf.spark.ui.enabled=true",
            "peft.rank_pattern.layer.0.query=4",
            "model.path=",
            "model.path=bundled:x",
            "data.test=",
            "spark.master=local[4]");

    assertThat(recipe.train().localEpochs()).isEqualTo(3);
    assertThat(recipe.compress().uplink().codec()).isEqualTo("topk");
    assertThat(recipe.compress().uplink().density()).isEqualTo(0.2);
    assertThat(recipe.compress().downlink().codec()).isEqualTo("int8");
    assertThat(recipe.spark().conf()).isEqualTo(Map.of("spark.ui.enabled", "true"));
    assertThat(recipe.spark().master()).isEqualTo("local[4]");
    assertThat(recipe.model().path()).isEqualTo("bundled:x");
    assertThat(recipe.data().test()).isEmpty();
    LoraConfig lora = (LoraConfig) recipe.peft();
    assertThat(lora.targetModules()).isEqualTo(TargetModules.of("query", "key"));
    assertThat(lora.rankPattern()).isEqualTo(Map.of("layer.0.query", 4));
  }

  @Test
  void badSettingsAreCited() {
    assertThat(
            problems(DATA, "train.local_epochs=x", "train.epochs=3", "run.seed=#1", "run.name=[a"))
        .hasSize(1)
        .first()
        .asString()
        .startsWith("--set run.name: is not YAML: ");
    assertThat(problems(DATA, "train.local_epochs=x", "train.epochs=3", "run.seed=#1"))
        .containsExactlyInAnyOrder(
            "--set train.local_epochs: train.local_epochs: must be a whole number, got \"x\"",
            "--set train.epochs: train.epochs: unknown key; known here: local_epochs, local_steps,"
                + " batch_size, gradient_accumulation_steps, optimizer, learning_rate,"
                + " weight_decay, adam_beta1, adam_beta2, adam_epsilon, max_grad_norm, schedule,"
                + " schedule_scope, warmup_ratio, length_buckets, gradient_checkpointing,"
                + " clients_per_pass",
            "--set run.seed: run.seed: has no value; give one or remove the key, got nothing");
    assertThat(catchThrowableOfType(ConfigException.class, () -> Setting.parse("train")))
        .hasMessage("--set: must be key=value, got train");
  }

  @Test
  void brokenAndHostileDocumentsAreRefused() {
    assertThat(problems("run: [1, 2\ndata: 3")).first().asString().startsWith("r.yaml:2: is not");
    assertThat(problems("just text"))
        .containsExactly("r.yaml: must be sections of keys, got \"just text\"");
    assertThat(problems("[".repeat(100_000)))
        .containsExactly("r.yaml:1: is nested more than 32 deep");
    assertThat(problems("a: &a [*a]")).containsExactly("r.yaml:1: is nested more than 32 deep");
    StringBuilder laughs = new StringBuilder("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for (int i = 1; i < 6; i++) {
      String alias = "*a" + (i - 1);
      laughs.append("a%d: &a%d [%s]%n".formatted(i, i, (alias + ", ").repeat(8) + alias));
    }
    assertThat(problems(laughs.toString()).get(0))
        .contains("has more than 20000 values, aliases expanded");
    assertThat(problems("#".repeat(1 + (1 << 20))).get(0)).contains("is too large");
    assertThat(problems("? [a]\n: b"))
        .containsExactly("r.yaml:1: a key must be one word, got a list or a section");
    assertThat(problems("--- a\n--- b").get(0)).contains("is not YAML");
  }

  @Test
  void filesThatAreNoRecipeAreNamed(@TempDir Path folder) throws IOException {
    Path binary = Files.write(folder.resolve("x.yaml"), new byte[] {(byte) 0xff, (byte) 0xfe, 1});

    assertThat(problems(folder.resolve("none.yaml")))
        .containsExactly(folder.resolve("none.yaml") + ": no such recipe");
    assertThat(problems(folder)).containsExactly(folder + ": is not a file");
    assertThat(problems(binary)).containsExactly(binary + ": is not UTF-8 text");
  }

  private static Recipe read(String yaml, String... settings) {
    return RecipeReader.parse(
        yaml, "r.yaml", BASE, Arrays.stream(settings).map(Setting::parse).toList());
  }

  private static List<String> problems(String yaml, String... settings) {
    ConfigException e = catchThrowableOfType(ConfigException.class, () -> read(yaml, settings));
    return e == null ? List.of() : e.problems().stream().map(Problem::toString).toList();
  }

  private static List<String> problems(Path file) {
    ConfigException e = catchThrowableOfType(ConfigException.class, () -> RecipeReader.read(file));
    return e == null ? List.of() : e.problems().stream().map(Problem::toString).toList();
  }
}
