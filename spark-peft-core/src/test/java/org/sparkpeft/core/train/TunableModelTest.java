package org.sparkpeft.core.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.io.AdapterDirectory;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.peft.HeadOnlyConfig;
import org.sparkpeft.core.peft.LoraConfig;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.TargetModules;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterVector;

class TunableModelTest {
  private static final ComputeDevice CPU = ComputeDevice.cpu();

  @TempDir Path temp;

  private static LoraConfig lora(String init, List<String> save, String... targets) {
    return new LoraConfig(
        4,
        8,
        0,
        TargetModules.of(targets),
        List.of(),
        false,
        init,
        Map.of(),
        Map.of(),
        List.of(),
        save);
  }

  private static TunableModel load(ModelDirectory directory, PeftConfig peft) {
    return TunableModel.load(directory, Models.classification(3), peft, CPU);
  }

  private static float[][] logits(TunableModel model, ParameterVector parameters) {
    ListExamples examples = ListExamples.random(23, 3, 15, 160, 6);
    return new LocalTrainer(model, Models.referenceTraining()).logits(parameters, examples);
  }

  private static double distance(float[][] a, float[][] b) {
    double worst = 0;
    for (int i = 0; i < a.length; i++) {
      assertThat(a[i]).hasSameSizeAs(b[i]);
      for (int j = 0; j < a[i].length; j++) {
        worst = Math.max(worst, Math.abs((double) a[i][j] - b[i][j]));
      }
    }
    return worst;
  }

  @Test
  void startingAdapterChangesNothing() {
    ModelDirectory directory = Models.fixture("bert-sequence-classification");
    try (TunableModel base = load(directory, HeadOnlyConfig.defaults());
        TunableModel adapted =
            load(directory, lora("true", List.of(), "query", "value", "dense"))) {
      float[][] expected = logits(base, base.initialParameters(3));
      assertThat(logits(adapted, adapted.initialParameters(3))).isDeepEqualTo(expected);
    }
  }

  @Test
  void initialValuesDependOnTheSeedAlone() {
    ModelDirectory directory = Models.fixture("roberta-sequence-classification");
    try (TunableModel one = load(directory, lora("true", List.of(), "query"));
        TunableModel two = load(directory, lora("true", List.of(), "query"))) {
      assertThat(one.initialParameters(3)).isEqualTo(two.initialParameters(3));
      assertThat(one.initialParameters(3)).isNotEqualTo(two.initialParameters(4));
    }
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "bert-sequence-classification",
        "roberta-sequence-classification",
        "distilbert-sequence-classification"
      })
  void fusedModelComputesTheSame(String fixture) {
    String[] targets =
        fixture.startsWith("distil")
            ? new String[] {"q_lin", "lin2", "word_embeddings"}
            : new String[] {"query", "output.dense", "word_embeddings"};
    try (TunableModel model =
        load(Models.fixture(fixture), lora("false", List.of("LayerNorm"), targets))) {
      ParameterVector parameters = model.initialParameters(8);
      float[][] expected = logits(model, parameters);
      ModelDirectory fused = model.exportFused(parameters, temp.resolve("fused"));
      try (TunableModel plain = load(fused, HeadOnlyConfig.defaults())) {
        float[][] actual = logits(plain, plain.initialParameters(0));
        assertThat(distance(actual, expected)).isLessThan(1e-5);
      }
      try (TunableModel base = load(Models.fixture(fixture), HeadOnlyConfig.defaults())) {
        assertThat(distance(logits(base, base.initialParameters(0)), expected)).isGreaterThan(1e-2);
      }
    }
  }

  static Stream<LoraConfig> variants() {
    LoraConfig plain = lora("true", List.of(), "query", "output.dense", "word_embeddings");
    LoraConfig linear = lora("false", List.of(), "query", "output.dense");
    return Stream.of(
        plain.withDora(),
        plain.withBias("all"),
        plain.withInit("pissa"),
        plain.withInit("olora").withDora().withBias("lora_only"),
        linear.withLoraBias(),
        linear.withInit("pissa_niter_2").withFrozenA());
  }

  @ParameterizedTest
  @MethodSource("variants")
  void variantsOfLoraStartAsTheBaseAndSurviveFilesAndFusing(LoraConfig config) {
    ModelDirectory directory = Models.fixture("bert-sequence-classification");
    try (TunableModel loaded = load(directory, config);
        TunableModel base = load(directory, HeadOnlyConfig.defaults())) {
      TunableModel model = loaded.started(5);
      ParameterVector start = model.initialParameters(5);
      float[][] untouched = logits(base, base.initialParameters(5));
      if (!config.initLoraWeights().equals("false")) {
        assertThat(distance(logits(model, start), untouched)).isLessThan(1e-5);
      }
      ParameterVector trained = perturbed(start);
      float[][] expected = logits(model, trained);
      assertThat(distance(expected, untouched)).isGreaterThan(1e-2);

      model.exportAdapter(trained, temp.resolve("adapter"));
      AdapterDirectory adapter = AdapterDirectory.read(temp.resolve("adapter"));
      TunableModel again = loaded.withState(loaded.importState(adapter));
      assertThat(logits(again, again.importAdapter(adapter))).isDeepEqualTo(expected);

      model.exportAsLora(trained, temp.resolve("plain"));
      AdapterDirectory converted = AdapterDirectory.read(temp.resolve("plain"));
      try (TunableModel plain = load(directory, AdapterImport.config(converted))) {
        assertThat(distance(logits(plain, plain.importAdapter(converted)), expected))
            .isLessThan(1e-5);
      }
      ModelDirectory fused = model.exportFused(trained, temp.resolve("fused"));
      try (TunableModel plain = load(fused, HeadOnlyConfig.defaults())) {
        assertThat(distance(logits(plain, plain.initialParameters(0)), expected)).isLessThan(1e-5);
      }
    }
  }

  private static ParameterVector perturbed(ParameterVector start) {
    float[] values = start.toArray();
    float[] noise = Philox.of(7, "noise").gaussian(values.length, 0.05);
    for (int i = 0; i < values.length; i++) {
      values[i] += noise[i];
    }
    return ParameterVector.wrap(start.layout(), values);
  }

  @Test
  void anotherPartOfTheBaseIsAnotherSetting() {
    ModelDirectory directory = Models.fixture("bert-sequence-classification");
    try (TunableModel pissa = load(directory, lora("pissa", List.of(), "query")).started(1);
        TunableModel plain = load(directory, lora("true", List.of(), "query"));
        TunableModel other = load(directory, lora("gaussian", List.of(), "query"))) {
      pissa.exportAdapter(pissa.initialParameters(1), temp.resolve("pissa"));
      AdapterDirectory adapter = AdapterDirectory.read(temp.resolve("pissa"));
      assertThatThrownBy(() -> plain.importAdapter(adapter))
          .isInstanceOf(ConfigException.class)
          .hasMessageContaining("init_lora_weights");
      other.exportAdapter(other.initialParameters(1), temp.resolve("other"));
      AdapterDirectory gaussian = AdapterDirectory.read(temp.resolve("other"));
      assertThat(plain.importAdapter(gaussian)).isEqualTo(other.initialParameters(1));
    }
  }

  @Test
  void makesUpAPoolerFreezesAndExportsIt() {
    Path folder = temp.resolve("adapter");
    TaskConfig task = Models.classification(3);
    try (TunableModel model =
        TunableModel.load(Models.miniLm(), task, lora("false", List.of(), "query"), CPU)) {
      assertThat(model.layout().contains("bert.pooler.dense.weight")).isFalse();
      assertThat(model.layout().contains("classifier.weight")).isTrue();
      ParameterVector parameters = model.initialParameters(8);
      model.exportAdapter(parameters, folder);
      AdapterDirectory adapter = AdapterDirectory.read(folder);
      assertThat(adapter.config().get("modules_to_save").toString())
          .isEqualTo("[\"classifier\",\"pooler\"]");
      assertThat(adapter.config().get("task_type").asText()).isEqualTo("SEQ_CLS");
      float[] pooler =
          Objects.requireNonNull(adapter.tensors().get("base_model.model.bert.pooler.dense.weight"))
              .toFloats();
      for (int i = 0; i < pooler.length; i++) {
        assertThat(pooler[i]).isEqualTo(i / 384 == i % 384 ? 1 : 0);
      }
      assertThat(model.importAdapter(adapter)).isEqualTo(parameters);
      float[][] expected = logits(model, parameters);

      PeftConfig read = AdapterImport.config(adapter);
      try (TunableModel again = TunableModel.load(Models.miniLm(), task, read, CPU)) {
        assertThat(again.layout().contains("bert.pooler.dense.weight")).isTrue();
        ParameterVector imported = again.importAdapter(adapter);
        assertThat(logits(again, imported)).isDeepEqualTo(expected);
      }
    }
  }

  @Test
  void meanPoolingNeedsNoPooler() {
    TaskConfig task = new TaskConfig("text-classification", List.of("a", "b", "c"), "mean", 32);
    try (TunableModel model =
        TunableModel.load(
            Models.fixture("bert-model"), task, lora("true", List.of(), "query"), CPU)) {
      assertThat(model.modules().find("bert.pooler.dense")).isEmpty();
      assertThat(logits(model, model.initialParameters(1))).hasDimensions(23, 3);
    }
  }

  @Test
  void sentenceEmbeddingsAreUnitVectorsAndLearn() {
    TaskConfig task = new TaskConfig("sentence-embedding", List.of(), "auto", 32);
    ListExamples pairs = new ListExamples();
    ListExamples texts = ListExamples.random(24, 3, 12, 160, 3);
    for (int i = 0; i < texts.size(); i++) {
      int[] other = texts.tokens(i).clone();
      other[1] = 140 - i;
      pairs.addPair(texts.tokens(i), other);
    }
    try (TunableModel model =
        TunableModel.load(
            Models.fixture("bert-model"), task, lora("true", List.of(), "query", "dense"), CPU)) {
      assertThat(model.layout().contains("encoder.layer.0.attention.self.query.lora_A.weight"))
          .isTrue();
      ParameterVector start = model.initialParameters(1);
      for (float[] vector : logits(model, start)) {
        double norm = 0;
        for (float v : vector) {
          norm += (double) v * v;
        }
        assertThat(norm).isBetween(1 - 1e-5, 1 + 1e-5);
      }
      TrainConfig config =
          new TrainConfig(
              6, 0, 8, 1, "adamw", 5e-3, 0, 0.9, 0.999, 1e-8, 1, "rex", "round", 0, true);
      LocalTrainer trainer = new LocalTrainer(model, config);
      Evaluation before = trainer.evaluate(start, pairs);
      LocalResult result = trainer.train(start, pairs, LocalPlan.alone(1));
      Evaluation after = trainer.evaluate(result.parameters(), pairs);
      assertThat(after.loss()).isLessThan(0.7 * before.loss());
      assertThat(after.items()).isEqualTo(24);
    }
  }

  @Test
  void namesWhatDoesNotFit() {
    ModelDirectory directory = Models.fixture("bert-sequence-classification");
    assertThatThrownBy(() -> load(directory, lora("true", List.of(), "quary")))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("quary")
        .hasMessageContaining("query");
    assertThatThrownBy(() -> load(directory, lora("true", List.of("poler"), "query")))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("modules_to_save")
        .hasMessageContaining("poler");
    assertThatThrownBy(
            () ->
                TunableModel.load(
                    directory,
                    new TaskConfig("text-classification", List.of("a", "b"), "cls", 512),
                    HeadOnlyConfig.defaults(),
                    CPU))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("32 positions");
  }

  @Test
  void refusesAnAdapterOfOtherSettings() {
    ModelDirectory directory = Models.fixture("bert-sequence-classification");
    Path folder = temp.resolve("adapter");
    try (TunableModel model = load(directory, lora("true", List.of(), "query"));
        TunableModel wider = load(directory, lora("true", List.of(), "query", "value"));
        TunableModel higher = load(directory, lora("true", List.of(), "query").withRank(5))) {
      model.exportAdapter(model.initialParameters(1), folder);
      AdapterDirectory adapter = AdapterDirectory.read(folder);
      assertThatThrownBy(() -> wider.importAdapter(adapter))
          .isInstanceOf(FormatException.class)
          .hasMessageContaining("value.lora_A");
      assertThatThrownBy(() -> higher.importAdapter(adapter))
          .isInstanceOf(ConfigException.class)
          .hasMessageContaining("r: ");
    }
  }
}
