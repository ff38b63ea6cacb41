package org.sparkpeft.tests.peft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.abort;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.assertj.core.data.Offset;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.io.TempDir;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.io.AdapterDirectory;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.io.WeightSource;
import org.sparkpeft.core.model.Backbone;
import org.sparkpeft.core.model.Backbones;
import org.sparkpeft.core.model.HeadConfig;
import org.sparkpeft.core.model.ModelInput;
import org.sparkpeft.core.model.Tuning;
import org.sparkpeft.core.peft.LoraConfig;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.sharing.Poly;
import org.sparkpeft.core.train.AdapterImport;
import org.sparkpeft.core.train.LocalPlan;
import org.sparkpeft.core.train.LocalResult;
import org.sparkpeft.core.train.LocalTrainer;
import org.sparkpeft.core.train.TaskConfig;
import org.sparkpeft.core.train.TrainConfig;
import org.sparkpeft.core.train.TunableModel;
import org.sparkpeft.core.vector.ParameterVector;
import org.sparkpeft.tests.support.Project;

/**
 * What Hugging Face PEFT computes, number by number: every case folder under the system property
 * {@code golden.dir} (else {@code golden} in the shared folder), on the base models under {@code
 * golden.models.dir} (else {@code models}). Cases on bases that are not supported are skipped;
 * {@code golden.case}, a regular expression, picks some.
 */
class HfPeftGoldenTest {
  private static final double LOSS = 1e-5;
  private static final double LOGIT = 2e-5;
  private static final double TENSOR = 5e-5;

  /** Of Llama and BART, whose logits are some ten times larger. */
  private static final double LARGE_LOGIT = 1e-4;

  /**
   * Where entries whose gradient is rounding noise move by it and logits follow: OFT's reference is
   * itself 1.7e-5 from its float64 run; DeLoRA divides by the length of a B that starts at zero.
   */
  private static final double LOGIT_NOISY = 4e-5;

  private static final Set<String> NOISY = Set.of("OFT", "DELORA");

  @TempDir Path temp;

  @TestFactory
  Stream<DynamicTest> sameNumbers() throws IOException {
    Path golden = folder("golden.dir", "golden");
    Path models = folder("golden.models.dir", "models");
    String only = System.getProperty("golden.case", ".*");
    List<Path> cases = new ArrayList<>();
    try (Stream<Path> folders = Files.list(golden)) {
      folders
          .filter(path -> Files.exists(path.resolve("golden.json")))
          .filter(path -> path.getFileName().toString().matches(only))
          .sorted()
          .forEach(cases::add);
    }
    assertThat(cases).as("cases in " + golden).isNotEmpty();
    return cases.stream()
        .map(GoldenCase::read)
        .filter(one -> !one.isMerge())
        .map(one -> DynamicTest.dynamicTest(one.name(), () -> check(one, golden, models)));
  }

  private static Path folder(String property, String shared) {
    String given = System.getProperty(property, "");
    if (given.isEmpty()) {
      return Project.shared(shared);
    }
    assumeTrue(Files.isDirectory(Path.of(given)), () -> given + " is not there");
    return Path.of(given);
  }

  private ModelDirectory base(GoldenCase golden, Path goldenDir, Path models) {
    Path base = models.resolve(golden.get("base_model").asText());
    String type = ModelDirectory.open(base).config().path("model_type").asText();
    if (!Backbones.supported().contains(type)) {
      abort("models of type " + type + " are not supported");
    }
    if (golden.isLanguageModel()) {
      return ModelDirectory.open(base);
    }
    Path head = goldenDir.resolve("minilm_head.safetensors");
    return GoldenCase.withHead(
        base,
        Files.exists(head) ? head : Project.shared("golden/minilm_head.safetensors"),
        temp.resolve(golden.name()).resolve("model"));
  }

  private void check(GoldenCase golden, Path goldenDir, Path models) throws IOException {
    Path scratch = Files.createDirectories(temp.resolve(golden.name()));
    ModelDirectory directory = base(golden, goldenDir, models);
    AdapterDirectory initial = golden.initial(scratch);
    PeftConfig config = asReferenced(AdapterImport.config(initial), golden);
    TaskConfig task = task(golden);
    GoldenCase.Rows rows = golden.rows();
    try (TunableModel loaded = TunableModel.load(directory, task, config, ComputeDevice.cpu())) {
      TunableModel model = loaded.withState(loaded.importState(initial));
      assertThat(model.layout().size())
          .as("trainable parameters")
          .isEqualTo(golden.get("trainable_parameters").intValue());
      ParameterVector start = model.importAdapter(initial);
      double bound = golden.hasLargeLogits() ? LARGE_LOGIT : LOGIT;
      logits(model, start, rows).isCloseTo(golden, "logits_init", bound);

      LocalResult result =
          new LocalTrainer(model, training(golden))
              .train(start, rows, LocalPlan.alone(1), golden.get("steps").intValue(), rows::batch);
      // Rounding noise in the gradients moves entries by the rate, here higher for some.
      JsonNode losses = golden.get("losses");
      for (int step = 0; step < losses.size(); step++) {
        assertThat(result.losses().get(step))
            .as("loss of step " + (step + 1))
            .isCloseTo(losses.get(step).doubleValue(), Offset.offset(LOSS));
      }
      TunableModel after = model.withState(result.state());
      double tolerance =
          NOISY.contains(config.peftType())
              ? Math.max(bound, LOGIT_NOISY)
              : bound * Math.sqrt(loraplusRatio(golden));
      logits(after, result.parameters(), rows).isCloseTo(golden, "logits_final", tolerance);

      Path exported = scratch.resolve("exported");
      after.exportAdapter(result.parameters(), exported);
      assertSameFile(AdapterDirectory.read(exported), golden.trained(scratch), golden);
      assertReadsBack(loaded, exported, rows, golden, tolerance);
      assertSameAsLora(after, result.parameters(), golden, scratch);
      assertFused(after, directory, result.parameters(), rows, golden, scratch, tolerance);
    }
  }

  /**
   * LoRA+ is no part of PEFT's configuration but of ours; in eval mode Poly's gate is not drawn.
   */
  private static PeftConfig asReferenced(PeftConfig config, GoldenCase golden) {
    if (config instanceof Poly.Config poly) {
      return poly.withGate("sigmoid");
    }
    return config instanceof LoraConfig lora
        ? lora.withLoraplusRatio(loraplusRatio(golden))
        : config;
  }

  private static TaskConfig task(GoldenCase golden) {
    if (golden.isLanguageModel()) {
      String name = golden.base().startsWith("bart") ? "text2text-generation" : "text-generation";
      return new TaskConfig(name, List.of(), "auto", 8);
    }
    List<String> labels = IntStream.range(0, 4).mapToObj(i -> "label" + i).toList();
    return new TaskConfig("text-classification", labels, "auto", 32);
  }

  private static double loraplusRatio(GoldenCase golden) {
    return golden.get("optimizer").path("loraplus_lr_ratio").asDouble(1);
  }

  private static TrainConfig training(GoldenCase golden) {
    JsonNode o = golden.get("optimizer");
    return new TrainConfig(
        1,
        0,
        4,
        1,
        "adamw",
        o.get("lr").doubleValue(),
        o.get("weight_decay").doubleValue(),
        o.get("betas").get(0).doubleValue(),
        o.get("betas").get(1).doubleValue(),
        o.get("eps").doubleValue(),
        0,
        "constant",
        "federation",
        0,
        false);
  }

  private static LogitsAssert logits(
      TunableModel model, ParameterVector parameters, GoldenCase.Rows rows) {
    return new LogitsAssert(
        new LocalTrainer(model, TrainConfig.defaults()).logits(parameters, rows));
  }

  /** Logits of all rows against {@code [batch][row][label]}. */
  private record LogitsAssert(float[][] rows) {
    void isCloseTo(GoldenCase golden, String name, double tolerance) {
      if (golden.isLanguageModel()) {
        isCloseTo(golden.logits(name), golden.rows().batch(0).get(0).length, tolerance);
      } else {
        isCloseTo(golden.get(name), tolerance);
      }
    }

    /** The first batch against {@code [batch, seq, vocabulary]} with padding. */
    void isCloseTo(TensorData expected, int batch, double tolerance) {
      int size = expected.shape().get(1) * expected.shape().get(2);
      float[] flat = expected.toFloats();
      assertThat(expected.shape().get(0)).isEqualTo(batch);
      double worst = 0;
      for (int row = 0; row < batch; row++) {
        for (int i = 0; i < rows[row].length; i++) {
          worst = Math.max(worst, Math.abs(rows[row][i] - flat[row * size + i]));
        }
      }
      assertThat(worst).as("largest distance of logits").isLessThan(tolerance);
    }

    void isCloseTo(JsonNode expected, double tolerance) {
      List<Double> flat = new ArrayList<>();
      expected.forEach(batch -> batch.forEach(row -> row.forEach(x -> flat.add(x.doubleValue()))));
      double worst = 0;
      int i = 0;
      for (float[] row : rows) {
        for (float value : row) {
          worst = Math.max(worst, Math.abs(value - flat.get(i++)));
        }
      }
      assertThat(i).as("logits").isEqualTo(flat.size());
      assertThat(worst).as("largest distance of logits").isLessThan(tolerance);
    }
  }

  /** The same tensors within the tolerance, and no setting that PEFT would read differently. */
  private static void assertSameFile(
      AdapterDirectory ours, AdapterDirectory theirs, GoldenCase golden) {
    AdapterDirectory plain = AdapterDirectory.read(theirs.path());
    assertThat(ours.tensors().keySet()).containsAll(plain.tensors().keySet());
    int apart = 0;
    int all = 0;
    for (TensorData expected : plain.tensors().values()) {
      TensorData actual = ours.tensors().get(expected.name());
      assertThat(actual.shape()).as(expected.name()).isEqualTo(expected.shape());
      if (!expected.dtype().isFloating()) {
        assertThat(actual.toLongs()).as(expected.name()).isEqualTo(expected.toLongs());
        continue;
      }
      float[] a = actual.toFloats();
      float[] e = expected.toFloats();
      double steps = golden.get("steps").intValue() * golden.get("optimizer").get("lr").asDouble();
      double worst = 0;
      for (int i = 0; i < a.length; i++) {
        double distance = Math.abs((double) a[i] - e[i]);
        worst = Math.max(worst, distance);
        apart += distance > TENSOR ? 1 : 0;
      }
      assertThat(worst).as("largest distance in " + expected.name()).isLessThan(steps);
      all += a.length;
    }
    // Adam divides by the gradient's size: where that is rounding noise, so is the entry.
    assertThat(apart).as("entries of " + all + " that are apart").isLessThanOrEqualTo(all / 50);
    TreeMap<String, String> differences = new TreeMap<>();
    Set<String> keys = new TreeSet<>();
    theirs.config().fieldNames().forEachRemaining(keys::add);
    ours.config().fieldNames().forEachRemaining(keys::add);
    keys.removeAll(
        Set.of(
            "gate", "spark_peft", "modules_to_save", "base_model_name_or_path", "layers_pattern"));
    if (theirs.config().path("task_type").isNull()) {
      // Without a task PEFT writes the model's Python class instead; here every adapter has one.
      keys.removeAll(Set.of("task_type", "auto_mapping"));
    }
    for (String key : keys) {
      String mine = plain(ours.config().get(key));
      String wanted = plain(theirs.config().get(key));
      if (!mine.equals(wanted)) {
        differences.put(key, mine + " for " + wanted);
      }
    }
    assertThat(differences).as("adapter_config.json").isEmpty();
  }

  /**
   * What PEFT's conversion writes: the same products (factors have free signs) under the same names
   * and settings. PEFT forgets the classifier there.
   */
  private static void assertSameAsLora(
      TunableModel model, ParameterVector trained, GoldenCase golden, Path scratch) {
    Optional<AdapterDirectory> theirs = golden.trainedAsLora();
    if (theirs.isEmpty()) {
      return;
    }
    model.exportAsLora(trained, scratch.resolve("as-lora"));
    AdapterDirectory ours = AdapterDirectory.read(scratch.resolve("as-lora"));
    for (String key : List.of("r", "lora_alpha", "init_lora_weights", "rank_pattern")) {
      assertThat(plain(ours.config().get(key)))
          .as(key)
          .isEqualTo(plain(theirs.get().config().get(key)));
    }
    for (TensorData a : theirs.get().tensors().values()) {
      if (a.name().endsWith(".lora_A.weight")) {
        String b = a.name().replace(".lora_A.", ".lora_B.");
        float[] expected = product(theirs.get(), a.name(), b);
        float[] actual = product(ours, a.name(), b);
        for (int i = 0; i < expected.length; i++) {
          assertThat(actual[i]).as(a.name()).isCloseTo(expected[i], Offset.offset(1e-3f));
        }
      }
    }
  }

  private static float[] product(AdapterDirectory adapter, String nameA, String nameB) {
    TensorData a = Objects.requireNonNull(adapter.tensors().get(nameA));
    TensorData b = Objects.requireNonNull(adapter.tensors().get(nameB));
    float[] right = a.toFloats();
    float[] left = b.toFloats();
    int r = a.shape().get(0);
    int in = a.shape().get(1);
    float[] product = new float[b.shape().get(0) * in];
    for (int i = 0; i < product.length; i++) {
      double sum = 0;
      for (int q = 0; q < r; q++) {
        sum += (double) left[i / in * r + q] * right[q * in + i % in];
      }
      product[i] = (float) sum;
    }
    return product;
  }

  /** As text: PEFT writes sets in any order, and 2 is 2.0. */
  private static String plain(@Nullable JsonNode node) {
    if (node == null) {
      return "nothing";
    }
    if (node.isArray()) {
      List<String> items = new ArrayList<>();
      node.forEach(item -> items.add(plain(item)));
      return items.stream().sorted().toList().toString();
    }
    if (node.isObject()) {
      TreeMap<String, String> fields = new TreeMap<>();
      node.properties().forEach(field -> fields.put(field.getKey(), plain(field.getValue())));
      return fields.toString();
    }
    return node.isNumber() ? Double.toString(node.doubleValue()) : node.toString();
  }

  private static void assertReadsBack(
      TunableModel base, Path exported, GoldenCase.Rows rows, GoldenCase golden, double tolerance) {
    AdapterDirectory adapter = AdapterDirectory.read(exported);
    TunableModel attached = base.withPeft(AdapterImport.config(adapter));
    TunableModel model = attached.withState(attached.importState(adapter));
    logits(model, model.importAdapter(adapter), rows).isCloseTo(golden, "logits_final", tolerance);
  }

  private static void assertFused(
      TunableModel model,
      ModelDirectory directory,
      ParameterVector trained,
      GoldenCase.Rows rows,
      GoldenCase golden,
      Path scratch,
      double tolerance) {
    boolean supported = golden.get("merge").path("supported").asBoolean();
    if (!supported) {
      return;
    }
    assertThat(model.whyNotFused()).as("folds into the base").isEmpty();
    ModelDirectory fused = model.exportFused(trained, scratch.resolve("fused"));
    try (WeightSource weights = fused.weights();
        WeightSource base = directory.weights()) {
      Map<String, float[]> read = new HashMap<>();
      for (JsonNode sample : golden.get("merge").get("samples")) {
        String name = sample.get("weight").asText();
        if (name.equals("lm_head.weight")) {
          continue;
        }
        float[] values = read.computeIfAbsent(name, weights::floats);
        assertThat((double) values[sample.get("flat_index").intValue()])
            .as(name)
            .isCloseTo(sample.get("merged").doubleValue(), Offset.offset(2 * TENSOR));
      }
      golden
          .get("merge")
          .get("delta_norms")
          .properties()
          .forEach(
              entry -> {
                if (!base.contains(entry.getKey()) && entry.getKey().equals("lm_head.weight")) {
                  // PEFT folds an adapter of the embedding into the layer that shares its table
                  // too, and so changes the outputs; here that layer keeps the old table.
                  return;
                }
                float[] now = weights.floats(entry.getKey());
                String bare = entry.getKey().replaceFirst("^bert\\.", "");
                float[] before = base.floats(base.contains(entry.getKey()) ? entry.getKey() : bare);
                double sum = 0;
                for (int i = 0; i < now.length; i++) {
                  sum += Math.pow(now[i] - (double) before[i], 2);
                }
                double norm = entry.getValue().doubleValue();
                assertThat(Math.sqrt(sum))
                    .as(entry.getKey())
                    .isCloseTo(norm, Offset.offset(1e-3 * Math.max(1, norm)));
              });
    }
    if (golden.isLanguageModel()) {
      new LogitsAssert(wordLogits(fused, rows)).isCloseTo(golden, "logits_final", tolerance);
      return;
    }
    TaskConfig task = model.task();
    try (TunableModel plain =
        TunableModel.load(
            fused, task, org.sparkpeft.core.peft.HeadOnlyConfig.defaults(), ComputeDevice.cpu())) {
      logits(plain, plain.initialParameters(0), rows).isCloseTo(golden, "logits_final", tolerance);
    }
  }

  /** The logits of a language model without an adapter, for the first batch. */
  private static float[][] wordLogits(ModelDirectory directory, GoldenCase.Rows rows) {
    ComputeDevice cpu = ComputeDevice.cpu();
    cpu.bindThread();
    try (Backbone model = Backbones.load(directory, cpu, HeadConfig.LANGUAGE);
        NDManager step = cpu.newManager()) {
      float[][] logits = new float[rows.batch(0).get(0).length][];
      for (int row = 0; row < logits.length; row++) {
        ModelInput input =
            rows.input(row, directory.config().path("decoder_start_token_id").asInt());
        NDArray hidden = model.forward(step, input, Tuning.NONE);
        logits[row] = model.logits(hidden, Tuning.NONE).toFloatArray();
      }
      return logits;
    }
  }
}
