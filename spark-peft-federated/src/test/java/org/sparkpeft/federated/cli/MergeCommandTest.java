package org.sparkpeft.federated.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.sparkpeft.core.io.AdapterDirectory;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.io.WeightSource;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.merge.adapter.AdapterFile;

class MergeCommandTest {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final int LAYERS = 4;

  @TempDir private Path folder;

  @BeforeEach
  void models() {
    model("base", 0, 3);
    model("a", 1, 3);
    model("b", 2, 3);
    model("other", 2, 5);
  }

  /** Every entry of layer l is {@code value * (l + 1)}, what lies outside {@code value}. */
  private void model(String name, float value, int width) {
    List<TensorData> tensors = new ArrayList<>();
    for (int l = 0; l < LAYERS; l++) {
      for (String part : List.of("mlp", "self_attn")) {
        tensors.add(tensor("model.layers." + l + "." + part + ".weight", value * (l + 1), width));
      }
    }
    tensors.add(tensor("model.embed_tokens.weight", value, width));
    tensors.add(tensor("lm_head.weight", value, width));
    ObjectNode config = JSON.createObjectNode().put("num_hidden_layers", LAYERS);
    ModelDirectory.save(folder.resolve(name), config, TensorData.byName(tensors), List.of());
  }

  private static TensorData tensor(String name, float value, int width) {
    float[] values = new float[2 * width];
    Arrays.fill(values, value);
    return TensorData.ofFloats(name, List.of(2, width), values);
  }

  private CommandResult run(String... args) {
    PrintStream nowhere =
        new PrintStream(new ByteArrayOutputStream(), true, StandardCharsets.UTF_8);
    Shell shell = new Shell(folder, Map.of(), nowhere);
    List<String> all = new ArrayList<>(List.of("merge"));
    all.addAll(List.of(args));
    return new SparkPeft(new FakeActions(), shell).run(all.toArray(String[]::new));
  }

  private CommandResult runRecipe(String yaml, String... args) throws IOException {
    Files.writeString(folder.resolve("m.yaml"), yaml);
    List<String> all = new ArrayList<>(List.of("-c", "m.yaml", "--out", "out"));
    all.addAll(List.of(args));
    return run(all.toArray(String[]::new));
  }

  private float value(String tensor) {
    try (WeightSource weights = ModelDirectory.open(folder.resolve("out")).weights()) {
      float[] values = weights.floats(tensor);
      for (float value : values) {
        assertThat(value).isEqualTo(values[0]);
      }
      return values[0];
    }
  }

  @Test
  void flagsMerge() {
    CommandResult result =
        run("--method", "linear", "--models", "a,b", "--weights", "3,1", "--out", "out", "--json");
    assertThat(result.exitCode()).as(result.error()).isZero();
    assertThat(result.output()).contains("\"merged\":10", "\"shards\":1", "\"dry_run\":false");
    assertThat(value("model.layers.2.mlp.weight")).isEqualTo(3.75f);
    assertThat(value("lm_head.weight")).isEqualTo(1.25f);
  }

  @Test
  void oursAndMergekitsRecipesMerge() throws IOException {
    CommandResult own =
        runRecipe("method: task_arithmetic\nbase: base\nmodels: [a, {path: b, weight: -0.5}]\n");
    assertThat(own.exitCode()).as(own.error()).isZero();
    assertThat(value("lm_head.weight")).isEqualTo(0);
    CommandResult theirs =
        runRecipe(
            """
            merge_method: task_arithmetic
            base_model: base
            models:
              - model: base
              - model: a
                parameters:
                  weight:
                    - filter: mlp
                      value: 2
                    - value: [0, 3]
              - model: b
                parameters: {weight: 0.5}
            dtype: bfloat16
            """);
    assertThat(theirs.exitCode()).as(theirs.error()).isZero();
    assertThat(value("model.layers.1.mlp.weight")).isEqualTo(2 * 2 + 4 * 0.5f);
    assertThat(value("model.layers.1.self_attn.weight")).isEqualTo(1 * 2 + 4 * 0.5f);
    assertThat(value("model.embed_tokens.weight")).isEqualTo(0 + 2 * 0.5f);
    assertThat(value("lm_head.weight")).isEqualTo(3 + 2 * 0.5f);
    assertThat(ModelDirectory.open(folder.resolve("out")).config().toString()).contains("bfloat16");
  }

  @Test
  void mergekitsSwitchesAreHeeded() throws IOException {
    String recipe =
        """
        merge_method: %s
        base_model: base
        models: [{model: a, parameters: {weight: 2}}, {model: b}]
        parameters: {normalize: %s, lambda: 0.5}
        """;
    assertThat(runRecipe(recipe.formatted("ties", "true")).exitCode()).isZero();
    assertThat(value("lm_head.weight")).isEqualTo(0.5f * (2 * 1 + 2) / 3);
    assertThat(runRecipe(recipe.formatted("ties", "false")).exitCode()).isZero();
    assertThat(value("lm_head.weight")).isEqualTo(0.5f * (2 * 1 + 2));
    assertThat(runRecipe(recipe.formatted("task_arithmetic", "true")).exitCode()).isZero();
    assertThat(value("lm_head.weight")).isEqualTo(0.5f * (2 * 1 + 2) / 3);
    String dropping =
        """
        merge_method: dare_linear
        base_model: base
        models: [a, a]
        parameters: {rescale: %s, density: 0.5}
        """;
    assertThat(runRecipe(dropping.formatted("false"), "--seed", "3").exitCode()).isZero();
    assertThat(distinct("lm_head.weight")).isSubsetOf(0f, 1f, 2f);
    assertThat(runRecipe(dropping.formatted("true"), "--seed", "3").exitCode()).isZero();
    // Rescaled to the norm from before, whatever was dropped: six entries of 2 in all.
    double sum = 0;
    for (float value : floats("lm_head.weight")) {
      sum += value;
    }
    assertThat(sum).isCloseTo(12, within(1e-4));
  }

  private float[] floats(String tensor) {
    try (WeightSource weights = ModelDirectory.open(folder.resolve("out")).weights()) {
      return weights.floats(tensor);
    }
  }

  private List<Float> distinct(String tensor) {
    List<Float> distinct = new ArrayList<>();
    for (float value : floats(tensor)) {
      distinct.add(value);
    }
    return distinct.stream().distinct().toList();
  }

  @Test
  void slicesOfSlerp() throws IOException {
    CommandResult result =
        runRecipe(
            """
            slices:
              - sources:
                  - {model: a, layer_range: [0, 2]}
                  - {model: b, layer_range: [0, 2]}
            merge_method: slerp
            base_model: b
            parameters:
              t: [0, 1]
            """);
    assertThat(result.exitCode()).as(result.error()).isZero();
    // Parallel vectors are interpolated linearly; t = 0 is the base, b.
    assertThat(value("model.layers.0.mlp.weight")).isEqualTo(2);
    assertThat(value("model.layers.1.mlp.weight")).isEqualTo(2);
    assertThat(value("model.embed_tokens.weight")).isEqualTo(2);
    assertThat(value("lm_head.weight")).isEqualTo(1);
    ModelDirectory out = ModelDirectory.open(folder.resolve("out"));
    assertThat(out.config().path("num_hidden_layers").asInt()).isEqualTo(2);
    try (WeightSource weights = out.weights()) {
      assertThat(weights.names()).hasSize(6);
    }
  }

  @Test
  void slicesStackLayers() throws IOException {
    CommandResult result =
        runRecipe(
            """
            slices:
              - sources: [{model: a, layer_range: [0, 3]}]
              - sources: [{model: b, layer_range: [1, 4]}]
            merge_method: passthrough
            """);
    assertThat(result.exitCode()).as(result.error()).isZero();
    List<Float> layers = new ArrayList<>();
    for (int l = 0; l < 6; l++) {
      layers.add(value("model.layers." + l + ".mlp.weight"));
    }
    assertThat(layers).containsExactly(1f, 2f, 3f, 4f, 6f, 8f);
    assertThat(value("model.embed_tokens.weight")).isEqualTo(1);
    assertThat(value("lm_head.weight")).isEqualTo(2);
  }

  @Test
  void aDryRunWritesNothing() {
    CommandResult result =
        run("--method", "ties", "--base", "base", "--models", "a,b", "--out", "out", "--dry-run");
    assertThat(result.exitCode()).as(result.error()).isZero();
    assertThat(result.output()).contains("60 parameters in 10 tensors", "Nothing was written");
    assertThat(folder.resolve("out")).doesNotExist();
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "2|--method ties --base base --models a|at least two models",
        "2|--method ties --base base --models a,base|at least two models",
        "2|--method ties --models a,b|base: ties merges differences to a base model",
        "2|--method tie --models a,b|checkpoints merge by one of linear",
        "2|--method ties --base base --models a,b --density 0|must be in (0, 1], got 0.0",
        "2|--method ties --base base --models a,b --density 1.5|got 1.5",
        "2|--method linear --models a,b --weights 1|needs one number for each of the 2 models",
        "2|--method linear --models a,b --weights NaN,1|weight must be finite",
        "2|--method linear --models a,b --dtype int8|float32, float16 or bfloat16",
        "2|--method ema --models a,b --decay 1|must be in [0, 1), got 1.0",
        "2|--method consensus --base base --models a,b --threshold 0|threshold must be above 0",
        "2|--method model_stock --base base --models a,b --weights 1,2|Model Stock has no weights",
        "2|-c none.yaml|no such recipe",
        "3|--method linear --models a,none|no model directory",
        "3|--method linear --models a,other|no model of the same architecture: lm_head.weight"
      })
  void refusals(int exitCode, String args, String message) {
    List<String> all = new ArrayList<>(Arrays.asList(args.split(" ")));
    all.addAll(List.of("--out", "out"));
    CommandResult result = run(all.toArray(String[]::new));
    assertThat(result.error()).contains(message);
    assertThat(result.exitCode()).isEqualTo(exitCode);
    assertThat(folder.resolve("out")).doesNotExist();
  }

  @Test
  void emaFollowsTheOrderOfModels() {
    CommandResult result =
        run("--method", "ema", "--models", "base,a,b", "--decay", "0.5", "--out", "out");
    assertThat(result.exitCode()).as(result.error()).isZero();
    assertThat(value("lm_head.weight")).isEqualTo(0.25f * 0 + 0.25f * 1 + 0.5f * 2);
  }

  @Test
  void consensusDropsWhatOneModelWants() {
    model("c", 0, 3);
    CommandResult all =
        run("--method", "consensus", "--base", "base", "--models", "a,b,c", "--out", "out");
    assertThat(all.exitCode()).as(all.error()).isZero();
    // Of the sum 3, model a wants 1 and b wants 2, each at least 0.4 of the rest.
    assertThat(value("lm_head.weight")).isEqualTo(3);
    run(
        "--method",
        "consensus",
        "--base",
        "base",
        "--models",
        "a,b,c",
        "--threshold",
        "0.6",
        "--out",
        "out");
    assertThat(value("lm_head.weight")).isZero();
  }

  private void randomModel(String name, long seed, double near, String setting) throws IOException {
    float[] values = Philox.of(near > 0 ? 1 : seed, "weights").gaussian(400, 1);
    float[] change = Philox.of(seed, "change").gaussian(400, near);
    for (int i = 0; i < values.length; i++) {
      values[i] += change[i];
    }
    ObjectNode config = JSON.createObjectNode().put("num_attention_heads", setting);
    ModelDirectory.save(
        folder.resolve(name),
        config,
        TensorData.byName(List.of(TensorData.ofFloats("w", List.of(20, 20), values))),
        List.of());
    Files.writeString(
        folder.resolve(name).resolve("tokenizer.json"), "{\"for\": \"" + seed + "\"}");
  }

  @Test
  void modelsOfDifferentBasesAreRefused() throws IOException {
    randomModel("r0", 1, 0, "4");
    randomModel("r1", 2, 0.1, "4");
    randomModel("stranger", 3, 0, "4");
    randomModel("heads", 4, 0.1, "8");
    CommandResult good = run("--method", "linear", "--models", "r0,r1", "--out", "out", "--json");
    assertThat(good.exitCode()).as(good.error()).isZero();
    assertThat(good.output()).contains("tokenizer.json of", "differs", "which is taken");
    assertThat(folder.resolve("out/tokenizer.json"))
        .hasSameBinaryContentAs(folder.resolve("r0/tokenizer.json"));
    CommandResult stranger = run("--method", "linear", "--models", "r0,stranger", "--out", "out2");
    assertThat(stranger.exitCode()).isEqualTo(3);
    assertThat(stranger.error()).contains("different base models", "cosine of", "--force");
    CommandResult heads =
        run("--method", "task_arithmetic", "--base", "r0", "--models", "r1,heads", "--out", "out2");
    assertThat(heads.exitCode()).isEqualTo(3);
    assertThat(heads.error()).contains("num_attention_heads is \"8\" and \"4\"");
    assertThat(folder.resolve("out2")).doesNotExist();
    CommandResult forced =
        run("--method", "linear", "--models", "r0,stranger", "--out", "out2", "--force");
    assertThat(forced.exitCode()).as(forced.error()).isZero();
    assertThat(forced.output()).contains("note: ", "different base models");
  }

  @Test
  void theTokenizerIsThatOfTheFirstThatHasOne() throws IOException {
    Files.writeString(folder.resolve("b/tokenizer.json"), "{}");
    CommandResult result =
        run("--method", "ties", "--base", "base", "--models", "a,b", "--out", "out");
    assertThat(result.exitCode()).as(result.error()).isZero();
    assertThat(result.output()).contains("has no tokenizer");
    assertThat(folder.resolve("out/tokenizer.json")).hasContent("{}");
  }

  @Test
  void fileUrisAreFilesAndAdaptersStayHere() {
    CommandResult result =
        run(
            "--method",
            "linear",
            "--models",
            folder.resolve("a").toUri() + "," + folder.resolve("b").toUri(),
            "--out",
            folder.resolve("out").toUri().toString());
    assertThat(result.exitCode()).as(result.error()).isZero();
    assertThat(value("lm_head.weight")).isEqualTo(1.5f);
    CommandResult unknown =
        run("--method", "linear", "--models", "nowhere://x/a,b", "--out", "out2");
    assertThat(unknown.exitCode()).isEqualTo(3);
    assertThat(unknown.error()).contains("SPARK_PEFT_CLASSPATH");
    adapter("x", "m", 1);
    adapter("y", "m", 2);
    CommandResult refused =
        run("--method", "cat", "--models", "x,y", "--out", "nowhere://x/merged");
    assertThat(refused.exitCode()).isEqualTo(3);
    assertThat(refused.error()).contains("adapters are merged on this machine only");
  }

  @Test
  void notFiniteIsRefused() {
    model("broken", Float.NaN, 3);
    CommandResult result = run("--method", "linear", "--models", "a,broken", "--out", "out");
    assertThat(result.exitCode()).isEqualTo(3);
    assertThat(result.error()).contains("broken", "is NaN; only finite weights can be merged");
  }

  private void adapter(String name, String base, float value) {
    ObjectNode config = JSON.createObjectNode().put("peft_type", "LORA").put("r", 1);
    config.put("lora_alpha", 1).put("base_model_name_or_path", base);
    config.putArray("target_modules").add("q");
    AdapterDirectory.write(
        folder.resolve(name),
        config,
        TensorData.byName(
            List.of(
                TensorData.ofFloats(
                    "base_model.model.q.lora_A.weight", List.of(1, 2), new float[] {1, value}),
                TensorData.ofFloats(
                    "base_model.model.q.lora_B.weight", List.of(1, 1), new float[] {value}))));
  }

  private static float[] floats(AdapterDirectory adapter, String name) {
    return Objects.requireNonNull(adapter.tensors().get("base_model.model." + name)).toFloats();
  }

  @Test
  void adaptersMerge() {
    adapter("x", "m", 1);
    adapter("y", "m", 2);
    adapter("z", "n", 2);
    CommandResult result =
        run("--method", "cat", "--models", "x,y", "--weights", "0.5,2", "--out", "out", "--json");
    assertThat(result.exitCode()).as(result.error()).isZero();
    assertThat(result.output()).contains("\"kind\":\"adapter\"", "\"rank\":2");
    AdapterDirectory merged = AdapterDirectory.read(folder.resolve("out"));
    assertThat(floats(merged, "q.lora_A.weight"))
        .containsExactly(new float[] {.5f, .5f, 2, 4}, within(1e-6f));
    CommandResult refused = run("--method", "cat", "--models", "x,z", "--out", "out2");
    assertThat(refused.exitCode()).isEqualTo(3);
    assertThat(refused.error()).contains("different base models", "--force");
    assertThat(run("--method", "cat", "--models", "x,z", "--out", "out2", "--force").exitCode())
        .isZero();
    CommandResult mixed = run("--method", "linear", "--models", "x,a", "--out", "out3");
    assertThat(mixed.exitCode()).isEqualTo(3);
    assertThat(mixed.error()).contains("do not merge with each other");
  }

  @Test
  void adaptersOfDifferentTasksMergeWithoutTheirHeads() {
    adapter("x", "m", 1);
    adapter("y", "m", 2);
    CommandResult scaled =
        run(
            "--method",
            "svd",
            "--models",
            "x,y",
            "--lambda",
            "2",
            "--rank",
            "2",
            "--heads",
            "drop",
            "--out",
            "out",
            "--json");
    assertThat(scaled.exitCode()).as(scaled.error()).isZero();
    // Delta W is [1, 1] and 2 [1, 2]; their sum twice.
    AdapterDirectory merged = AdapterDirectory.read(folder.resolve("out"));
    float[] a = floats(merged, "q.lora_A.weight");
    float[] b = floats(merged, "q.lora_B.weight");
    assertThat(b[0] * a[0]).isCloseTo(6, within(1e-5f));
    assertThat(b[0] * a[1]).isCloseTo(10, within(1e-5f));
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "2|--models x,y --search grid|--search-data: a search needs validation data",
        "2|--models x,y --text body|--search-data: a search needs validation data",
        "2|--models x,y --search best --search-data v.jsonl|must be one of grid, nelder_mead",
        "2|--models x,y --search-data v.jsonl --metric bleu|metric: must be one of accuracy",
        "2|--models x,y --search-data v.jsonl --heads none|must be mean or drop",
        "2|--models a,b --search-data v.jsonl|is for adapters; the models here are checkpoints",
        "2|--models x,y --lambda NaN|lambda: must be finite",
        "2|--models x,y --gamma 1|must be in [0, 1), got 1.0"
      })
  void searchesThatCannotBeAreRefused(int exitCode, String args, String message) {
    adapter("x", "m", 1);
    adapter("y", "m", 2);
    List<String> all = new ArrayList<>(List.of("--method", "linear", "--out", "out"));
    all.addAll(Arrays.asList(args.split(" ")));
    CommandResult result = run(all.toArray(String[]::new));
    assertThat(result.error()).contains(message);
    assertThat(result.exitCode()).isEqualTo(exitCode);
    assertThat(folder.resolve("out")).doesNotExist();
  }

  private CommandResult other(String... args) {
    PrintStream nowhere =
        new PrintStream(new ByteArrayOutputStream(), true, StandardCharsets.UTF_8);
    return new SparkPeft(new FakeActions(), new Shell(folder, Map.of(), nowhere)).run(args);
  }

  @Test
  void adaptersAreCompressedShownAndDecompressed() {
    adapter("x", "m", 3);
    CommandResult made =
        other("compress", "--adapter", "x", "--density", "0.34", "--out", "x.spta");
    assertThat(made.exitCode()).as(made.error()).isZero();
    CommandResult shown = other("inspect", "x.spta", "--json");
    assertThat(shown.output())
        .contains("\"kind\":\"compressed adapter\"", "\"kept\":1", "\"parameters\":3")
        .contains("topk(0.34)|ternary(mean)", "entropy_bound_bytes");
    CommandResult back = other("decompress", "x.spta", "--out", "back");
    assertThat(back.exitCode()).as(back.error()).isZero();
    AdapterDirectory adapter = AdapterDirectory.read(folder.resolve("back"));
    assertThat(adapter.config().path("base_model_name_or_path").asText()).isEqualTo("m");
    // Of 1, 3 and 3 the first 3 in the order of names stays, which is A's second.
    assertThat(floats(adapter, "q.lora_A.weight")).containsExactly(0, 3);
    assertThat(floats(adapter, "q.lora_B.weight")).containsExactly(0);

    // Each tensor keeps at least one.
    other("compress", "--adapter", "x", "--density", "0.34", "--selection", "tensor", "--out", "t");
    assertThat(AdapterFile.read(folder.resolve("t")).pipeline())
        .isEqualTo("topk(0.34, tensor)|ternary(mean)");
    other("decompress", "t", "--out", "back");
    AdapterDirectory each = AdapterDirectory.read(folder.resolve("back"));
    assertThat(floats(each, "q.lora_A.weight")).containsExactly(0, 3);
    assertThat(floats(each, "q.lora_B.weight")).containsExactly(3);

    CommandResult nowhere = other("compress", "--adapter", "x", "--selection", "row", "--out", "y");
    assertThat(nowhere.exitCode()).isEqualTo(2);
    assertThat(nowhere.error()).contains("--selection", "row", "global or tensor");
    CommandResult twice =
        other(
            "compress",
            "--adapter",
            "x",
            "--selection",
            "tensor",
            "--pipeline",
            "topk(0.1)|fp16",
            "--out",
            "y");
    assertThat(twice.exitCode()).isEqualTo(2);
    assertThat(twice.error()).contains("--selection", "topk(0.1, tensor)");
    assertThat(other("compress", "--adapter", "x", "--density", "0", "--out", "y").exitCode())
        .isEqualTo(2);
    CommandResult wrong =
        other("compress", "--adapter", "x", "--pipeline", "topk(0.1)|fp64", "--out", "y");
    assertThat(wrong.exitCode()).isEqualTo(2);
    assertThat(wrong.error()).contains("--pipeline");
    CommandResult both =
        other(
            "compress",
            "--adapter",
            "x",
            "--pipeline",
            "topk(0.1)|ternary(mean)",
            "--search-data",
            "v.jsonl",
            "--out",
            "y");
    assertThat(both.exitCode()).isEqualTo(2);
    assertThat(both.error()).contains("give one of the two");
    assertThat(other("decompress", "none", "--out", "y").exitCode()).isEqualTo(3);
    assertThat(folder.resolve("y")).doesNotExist();
  }
}
