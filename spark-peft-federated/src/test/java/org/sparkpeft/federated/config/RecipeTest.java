package org.sparkpeft.federated.config;

import static java.nio.charset.StandardCharsets.UTF_8;
import static java.util.Objects.requireNonNull;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.ObjectInputStream;
import java.io.ObjectOutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.train.PreferenceConfig;

class RecipeTest {
  private static final Path BASE = Path.of("/recipes");

  private static final String EVERY_KEY =
      """
      run: {name: other, dir: /elsewhere, seed: 8}
      model: {path: /m, task: dpo, max_length: 65, pooling: cls, dtype: bfloat16, fuse: true,
        preference: {loss_type: robust, beta: 0.2, label_smoothing: 0.1, reference_free: true,
          rpo_alpha: 0.5, max_prompt_length: 40}}
      data: {train: /a, test: /b, format: csv, options: {header: true, sep: ;}, text: t,
        text_pair: u, rejected: v, image: i, audio: a, label: y, labels: [p, q, r],
        chat_template: chatml}
      clients: {partition: quantity, column: c, count: 21, concentration: 0.6, labels_per_client: 3,
        min_examples: 2}
      peft: {peft_type: LORA, r: 9, lora_alpha: 17, lora_dropout: 0.1, target_modules: all-linear,
        exclude_modules: [key], use_rslora: true, init_lora_weights: false, layers_pattern: [layer],
        use_dora: true, bias: all, loraplus_lr_ratio: 4, freeze_a: true,
        rank_pattern: {query: 4}, alpha_pattern: {query: 2.5}, layers_to_transform: [1, 0],
        modules_to_save: [score]}
      train: {local_epochs: 2, local_steps: 3, batch_size: 9, gradient_accumulation_steps: 2,
        optimizer: sgd, learning_rate: 1, weight_decay: 0, adam_beta1: 0.8, adam_beta2: 0.98,
        adam_epsilon: 1e-7, max_grad_norm: 0, schedule: cosine, schedule_scope: round,
        warmup_ratio: 0.1, length_buckets: false, gradient_checkpointing: true,
        clients_per_pass: auto}
      rounds: {count: 21, clients_per_round: 11, min_clients: 2, concurrency: 2, stall_seconds: 601,
        client_seconds: 1}
      compress:
        uplink: {codec: topk, density: 0.2, selection: tensor, scale: sigma, alpha: 2,
          error_feedback: false, feedback_decay: 0.9, rounding: stochastic,
          pipeline: "topk(0.3)|fp16|rice"}
        downlink: {codec: int8, density: 0.3, selection: tensor, scale: sigma, alpha: 3,
          error_feedback: false, feedback_decay: 0.9, rounding: stochastic,
          pipeline: "topk(0.3)|fp16|rice"}
      aggregate: {method: ties, weighting: uniform, proximal_mu: 0.02, density: 0.3, lambda: 0.5}
      server: {optimizer: yogi, learning_rate: 0.5, momentum: 0.1, beta1: 0.8, beta2: 0.98,
        tau: 0.01}
      evaluate: {every: 2, metrics: [mcc], references: [central], per_client: true,
        generate: {every: 3, max_examples: 9, settings: {num_beams: 2}, proxy_for: /large,
          proxy_alpha: 2}}
      spark: {master: yarn, conf: {spark.ui.enabled: true}, task_cpus: 2}
      """;

  @Test
  void defaultsArePinned() throws IOException {
    try (InputStream pinned = RecipeTest.class.getResourceAsStream("defaults.yaml")) {
      assertThat(RecipeWriter.write(Recipe.defaults()))
          .isEqualTo(new String(requireNonNull(pinned).readAllBytes(), UTF_8));
    }
  }

  @Test
  void everyKeyIsReadAndChangesSomething() {
    Recipe recipe = read(EVERY_KEY);
    Map<String, String> changed = RecipeText.leaves(recipe);
    Map<String, String> defaults = RecipeText.leaves(Recipe.defaults());

    assertThat(changed.keySet())
        .containsAll(defaults.keySet())
        .containsAll(RecipeKeys.all().stream().filter(key -> !key.startsWith("peft.")).toList());
    // Other methods have keys of their own and tell tasks apart; lora_bias goes without use_dora;
    // of the two ways to
    // size a cohort only one can be set; weights of examples are for kto.
    assertThat(defaults.keySet())
        .filteredOn(key -> changed.getOrDefault(key, "").equals(defaults.get(key)))
        .containsExactlyInAnyOrder(
            "data.target_tokenizer",
            "data.task",
            "data.formatting",
            "data.columns",
            "data.train_on_prompt",
            "data.packing",
            "peft.peft_type",
            "peft.lora_bias",
            "rounds.participation",
            "model.preference.desirable_weight",
            "model.preference.undesirable_weight");
    assertThat(read("data: {train: /a, test: ''}\nrounds: {participation: 0.3}").rounds())
        .extracting(RoundsConfig::participation)
        .isEqualTo(0.3);
    assertThat(
            read("data: {train: /a, test: '', text_pair: b}\nclients: {partition: iid}\nmodel: {task: kto, preference: "
                    + "{desirable_weight: 2, undesirable_weight: 3}}")
                .model()
                .preference())
        .isEqualTo(new PreferenceConfig("auto", 0.1, 0, 2, 3, false, 0, 0));
  }

  @Test
  void layoutsOfRowsAreForTasksThatMakeText() {
    Recipe recipe =
        read(
            "data: {train: a, test: b, formatting: sharegpt, columns: {conversations: talk},"
                + " train_on_prompt: true, packing: true}\nmodel: {task: text-generation}\n"
                + "clients: {partition: iid}");
    assertThat(recipe.data().column("conversations")).isEqualTo("talk");
    assertThat(recipe.data().column("from")).isEqualTo("from");
    assertThat(recipe.data().packing()).isTrue();
    assertThat(recipe.data().input("text-generation")).isEqualTo(DataConfig.TURNS);
    assertThat(
            read("data: {train: a, test: b, text_pair: p, target_tokenizer: t.json}\n"
                    + "model: {task: text2text-generation}\nclients: {partition: iid}")
                .data()
                .targetTokenizer())
        .isEqualTo(BASE.resolve("t.json").toString());
  }

  @Test
  void aTaskIsForMethodsThatTellTasksApart() {
    String data = "data: {train: a, test: b, task: dialect}\npeft: ";
    for (String peft : List.of("{peft_type: MTLORA}", "{peft_type: POLY, trainable: logits}")) {
      Recipe recipe = read(data + peft);
      assertThat(recipe.data().task()).isEqualTo("dialect");
      assertThat(read(RecipeWriter.write(recipe))).isEqualTo(recipe);
    }
    for (String type : List.of("LORA", "POLY, trainable: average")) {
      assertThatThrownBy(() -> read(data + "{peft_type: " + type + "}"))
          .isInstanceOf(ConfigException.class)
          .hasMessageContaining("data.task: peft.peft_type " + type.substring(0, 4))
          .hasMessageContaining("use MTLORA, or POLY");
    }
  }

  @Test
  void keysAreAContract() {
    assertThat(new TreeSet<>(RecipeKeys.all())).contains("clients.column", "peft.peft_type");
  }

  @Test
  void whatIsWrittenReadsBackEqual() {
    for (Recipe recipe : List.of(read(EVERY_KEY), read("data: {train: a, test: b}"))) {
      String yaml = RecipeWriter.write(recipe);

      assertThat(read(yaml)).isEqualTo(recipe);
      assertThat(RecipeWriter.write(read(yaml))).isEqualTo(yaml);
    }
  }

  @Test
  void oddTextsSurviveWritingAndReading() {
    for (String odd :
        List.of(
            "no",
            "true",
            "1.5",
            "a: b",
            "#x",
            "- y",
            "'q'",
            "\"d\"",
            "tab\there",
            "ü\u0001",
            "é 漢",
            "*",
            "&a",
            "{x}",
            "%")) {
      Recipe recipe = read("data: {train: a, test: b}");
      DataConfig d = recipe.data();
      DataConfig data =
          new DataConfig(
              d.train(),
              d.test(),
              "csv",
              Map.of("sep", odd, odd, "x"),
              odd,
              "pair",
              "",
              odd,
              "sound",
              odd,
              List.of(odd),
              "",
              "",
              "columns",
              Map.of(),
              "auto",
              false,
              false);
      Recipe changed = recipe.withPlaces(recipe.run(), recipe.model(), data);

      assertThat(read(RecipeWriter.write(changed))).as(odd).isEqualTo(changed);
    }
  }

  @Test
  void aRecipeRidesInAClosure() throws Exception {
    Recipe recipe = read(EVERY_KEY);
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    try (ObjectOutputStream out = new ObjectOutputStream(bytes)) {
      out.writeObject(recipe);
    }
    try (ObjectInputStream in =
        new ObjectInputStream(new ByteArrayInputStream(bytes.toByteArray()))) {
      assertThat(in.readObject()).isEqualTo(recipe);
    }
  }

  static Stream<Path> shippedRecipes() throws IOException {
    try (Stream<Path> files = Files.list(Path.of("..", "conf"))) {
      // Recipes of merges have a reader and a test of their own.
      return files
          .filter(file -> file.toString().endsWith(".yaml"))
          .filter(file -> !file.getFileName().toString().startsWith("merge-"))
          .sorted()
          .toList()
          .stream();
    }
  }

  @ParameterizedTest
  @MethodSource("shippedRecipes")
  void everyShippedRecipeLoads(Path file) {
    Recipe recipe = RecipeReader.read(file);

    assertThat(recipe.run().dir()).startsWith("/").endsWith("runs/" + recipe.run().name());
  }

  @Test
  void theQuickstartNeedsNoFiles() {
    Recipe recipe = RecipeReader.read(Path.of("..", "conf", "quickstart.yaml"));

    assertThat(shippedNames())
        .contains(
            "quickstart.yaml",
            "intents-snips.yaml",
            "intents-banking77.yaml",
            "preferences.yaml",
            "cross-silo.yaml",
            "cross-device.yaml");
    assertThat(recipe.data().train()).isEqualTo("bundled:support-requests/train.jsonl");
    assertThat(recipe.model().path()).isEqualTo("bundled:all-MiniLM-L6-v2");
    assertThat(recipe.clients().column()).isEqualTo("client_id");
  }

  private static List<String> shippedNames() {
    try {
      return shippedRecipes().map(file -> file.getFileName().toString()).toList();
    } catch (IOException e) {
      throw new AssertionError(e);
    }
  }

  @ParameterizedTest
  @CsvSource({
    "0, 0, 7, 7",
    "3, 0, 7, 3",
    "9, 0, 7, 7",
    "0, 0.5, 7, 4",
    "0, 0.01, 7, 1",
    "0, 1, 7, 7",
  })
  void aCohortHasItsSize(int perRound, double participation, int clients, int expected) {
    assertThat(new RoundsConfig(1, perRound, participation, 1, 0, 600, 0).cohortSize(clients))
        .isEqualTo(expected);
  }

  @ParameterizedTest
  @CsvSource({"local, 1", "local[4], 4", "'local[4,2]', 4", "local[*], 0", "yarn, 0"})
  void localMastersHaveThreads(String master, int threads) {
    assertThat(SparkConfig.defaults().withMaster(master).localThreads()).isEqualTo(threads);
  }

  private static Recipe read(String yaml) {
    return RecipeReader.parse(yaml, "r.yaml", BASE, List.of());
  }
}
