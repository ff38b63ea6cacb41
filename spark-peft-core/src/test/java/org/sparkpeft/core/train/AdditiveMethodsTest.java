package org.sparkpeft.core.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.io.AdapterDirectory;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.peft.HeadOnlyConfig;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethod;
import org.sparkpeft.core.peft.PeftMethods;
import org.sparkpeft.core.peft.additive.Ia3;
import org.sparkpeft.core.peft.additive.PTuning;
import org.sparkpeft.core.peft.additive.PrefixTuning;
import org.sparkpeft.core.peft.additive.PromptTuning;
import org.sparkpeft.core.peft.additive.Ssf;
import org.sparkpeft.core.testing.SharedFiles;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;

/** What every additive method must do on a small BERT, with its default settings. */
class AdditiveMethodsTest {
  private static final Set<String> CHANGE_AT_START =
      Set.of("PREFIX_TUNING", "PROMPT_TUNING", "P_TUNING", "MAM", "DEPT");

  @TempDir Path temp;

  static Stream<PeftConfig> configs() {
    Stream<PeftConfig> defaults =
        PeftMethods.all().stream()
            .filter(m -> m.getClass().getPackage().equals(Ia3.class.getPackage()))
            .map(PeftMethod::defaults);
    return Stream.concat(
        defaults,
        Stream.of(
            new PrefixTuning.Config(3, true, 0, "", List.of("classifier")),
            new PTuning.Config(3, "LSTM", 6, 3, 0.3, List.of("classifier"))));
  }

  private static TunableModel load(ModelDirectory directory, PeftConfig config) {
    List<String> labels = IntStream.range(0, 3).mapToObj(i -> "label" + i).toList();
    TaskConfig task = new TaskConfig("text-classification", labels, "auto", 16);
    return TunableModel.load(directory, task, config, ComputeDevice.cpu());
  }

  private static ModelDirectory bert() {
    return Models.fixture("bert-sequence-classification");
  }

  private static float[][] logits(TunableModel model, ParameterVector parameters) {
    ListExamples examples = ListExamples.random(9, 3, 15, 160, 6);
    return new LocalTrainer(model, Models.referenceTraining()).logits(parameters, examples);
  }

  private static double distance(float[][] a, float[][] b) {
    double worst = 0;
    for (int i = 0; i < a.length; i++) {
      for (int j = 0; j < a[i].length; j++) {
        worst = Math.max(worst, Math.abs((double) a[i][j] - b[i][j]));
      }
    }
    return worst;
  }

  @ParameterizedTest
  @MethodSource("configs")
  void startsAsItSaysLearnsAndComesBackFromAFile(PeftConfig config) {
    TrainConfig training =
        new TrainConfig(
            1, 12, 8, 1, "adamw", 2e-3, 0, 0.9, 0.999, 1e-8, 1, "constant", "round", 0, false);
    try (TunableModel loaded = load(bert(), config);
        TunableModel base = load(bert(), HeadOnlyConfig.defaults())) {
      TunableModel model = loaded.started(4);
      ParameterVector start = model.initialParameters(4);
      assertThat(start).isEqualTo(model.initialParameters(4));
      double moved = distance(logits(model, start), logits(base, base.initialParameters(4)));
      if (CHANGE_AT_START.contains(config.peftType())) {
        assertThat(moved).isGreaterThan(1e-3);
      } else {
        assertThat(moved).isLessThan(1e-6);
      }

      ListExamples examples = ListExamples.random(32, 3, 15, 160, 3);
      LocalTrainer trainer = new LocalTrainer(model, training);
      LocalResult result = trainer.train(start, examples, LocalPlan.alone(1));
      TunableModel after = model.withState(result.state());
      ParameterVector trained = result.parameters();
      assertThat(new LocalTrainer(after, training).evaluate(trained, examples).loss())
          .isLessThan(trainer.evaluate(start, examples).loss());
      for (ParameterLayout.Entry entry : model.layout().entries()) {
        assertThat(Arrays.equals(trained.tensor(entry.name()), start.tensor(entry.name())))
            .as(entry.name() + " stays as it was")
            .isFalse();
      }

      Path folder = temp.resolve("adapter");
      after.exportAdapter(trained, folder);
      AdapterDirectory adapter = AdapterDirectory.read(folder);
      assertThat(after.importAdapter(adapter)).isEqualTo(trained);
      try (TunableModel again = load(bert(), AdapterImport.config(adapter))) {
        TunableModel read = again.withState(again.importState(adapter));
        assertThat(logits(read, read.importAdapter(adapter))).isDeepEqualTo(logits(after, trained));
      }

      if (after.whyNotFused().isPresent()) {
        assertThatThrownBy(() -> after.exportFused(trained, temp.resolve("fused")))
            .isInstanceOf(ConfigException.class);
        return;
      }
      ModelDirectory fused = after.exportFused(trained, temp.resolve("fused"));
      try (TunableModel plain = load(fused, HeadOnlyConfig.defaults())) {
        assertThat(distance(logits(plain, plain.initialParameters(0)), logits(after, trained)))
            .isLessThan(1e-5);
      }
    }
  }

  @Test
  void methodsThatFoldAreTheseFour() {
    try (TunableModel model = load(bert(), new Ssf().defaults())) {
      List<String> fold =
          configs()
              .filter(config -> model.withPeft(config).whyNotFused().isEmpty())
              .map(PeftConfig::peftType)
              .toList();
      assertThat(fold).containsExactlyInAnyOrder("BITFIT", "IA3", "LN_TUNING", "SSF");
    }
  }

  @Test
  void virtualTokensTakePositionsFromTheText() {
    ModelDirectory model = bert();
    assertThatThrownBy(
            () -> load(model, new PrefixTuning.Config(17, false, 0, "", List.of("classifier"))))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("32 positions")
        .hasMessageContaining("17 virtual tokens");
  }

  @Test
  void sizesOfAnotherModelAreRefused() throws IOException {
    Path folder = temp.resolve("adapter");
    try (TunableModel model =
        load(bert(), new PrefixTuning.Config(3, false, 0, "", List.of("classifier")))) {
      model.exportAdapter(model.initialParameters(1), folder);
      AdapterDirectory adapter = AdapterDirectory.read(folder);
      assertThat(adapter.config().get("token_dim").intValue()).isEqualTo(32);
      assertThat(adapter.config().get("encoder_hidden_size").intValue()).isEqualTo(32);
      Path file = folder.resolve("adapter_config.json");
      String other = Files.readString(file).replaceFirst("(\"token_dim\"\\s*:\\s*)32", "$133");
      Files.writeString(file, other);
      assertThatThrownBy(() -> model.importAdapter(AdapterDirectory.read(folder)))
          .isInstanceOf(ConfigException.class)
          .hasMessageContaining("token_dim")
          .hasMessageContaining("33");
    }
  }

  /** A recipe may leave the width open that a file names. */
  @Test
  void openSettingsAgreeWithTheModelsOwn() {
    Path folder = temp.resolve("adapter");
    PeftConfig open = new PTuning.Config(3, "MLP", 0, 2, 0, List.of("classifier"));
    PeftConfig given = new PTuning.Config(3, "MLP", 32, 2, 0, List.of("classifier"));
    try (TunableModel model = load(bert(), open)) {
      ParameterVector start = model.initialParameters(1);
      model.exportAdapter(start, folder);
      assertThat(model.importAdapter(AdapterDirectory.read(folder))).isEqualTo(start);
      assertThat(model.withPeft(given).importAdapter(AdapterDirectory.read(folder)))
          .isEqualTo(start);
      PeftConfig narrower = new PTuning.Config(3, "MLP", 16, 2, 0, List.of("classifier"));
      assertThatThrownBy(
              () -> model.withPeft(narrower).importAdapter(AdapterDirectory.read(folder)))
          .isInstanceOf(ConfigException.class)
          .hasMessageContaining("encoder_hidden_size");
    }
  }

  @Test
  void virtualTokensHaveNoLabels() {
    TaskConfig task = new TaskConfig("token-classification", List.of("a", "b"), "auto", 16);
    ListExamples examples = new ListExamples();
    ListExamples texts = ListExamples.random(12, 3, 12, 160, 3);
    for (int i = 0; i < texts.size(); i++) {
      examples.add(
          texts.tokens(i), Arrays.stream(texts.tokens(i)).map(token -> token % 2).toArray());
    }
    PeftConfig prompt = new PromptTuning.Config(4, "RANDOM", "", "", List.of("classifier"));
    ModelDirectory directory = Models.fixture("bert-token-classification");
    try (TunableModel model = TunableModel.load(directory, task, prompt, ComputeDevice.cpu())) {
      ParameterVector start = model.initialParameters(1);
      TrainConfig training =
          new TrainConfig(
              1, 20, 6, 1, "adamw", 1e-2, 0, 0.9, 0.999, 1e-8, 1, "constant", "round", 0, false);
      LocalTrainer trainer = new LocalTrainer(model, training);
      float[][] logits = trainer.logits(start, examples);
      for (int i = 0; i < logits.length; i++) {
        assertThat(logits[i]).hasSize(2 * examples.tokens(i).length);
      }
      LocalResult result = trainer.train(start, examples, LocalPlan.alone(1));
      assertThat(trainer.evaluate(result.parameters(), examples).loss())
          .isLessThan(0.9 * trainer.evaluate(start, examples).loss());
    }
  }

  /** The base's own tokenizer gives what Hugging Face's gave. */
  @Test
  void promptStartsFromATextAsInHuggingFace() {
    PeftConfig config =
        new PromptTuning.Config(5, "TEXT", "sort this sentence by topic", "", List.of());
    AdapterDirectory theirs =
        AdapterDirectory.read(SharedFiles.find("golden/minilm-prompt-tuning-text/adapter_init"));
    try (TunableModel model =
        TunableModel.load(Models.miniLm(), Models.classification(4), config, ComputeDevice.cpu())) {
      assertThat(model.initialParameters(1).tensor("prompt_embeddings"))
          .containsExactly(
              Objects.requireNonNull(theirs.tensors().get("prompt_embeddings")).toFloats());
    }
  }
}
