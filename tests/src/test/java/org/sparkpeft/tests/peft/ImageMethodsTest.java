package org.sparkpeft.tests.peft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.sparkpeft.core.data.Examples;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.peft.PeftMethod;
import org.sparkpeft.core.peft.PeftMethods;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.train.LocalPlan;
import org.sparkpeft.core.train.LocalTrainer;
import org.sparkpeft.core.train.TaskConfig;
import org.sparkpeft.core.train.TrainConfig;
import org.sparkpeft.core.train.TrainingMemory;
import org.sparkpeft.core.train.TunableModel;
import org.sparkpeft.tests.support.SharedBase;
import org.sparkpeft.tests.support.TinyVit;

/** Every method on a model of images: it learns, or says why it cannot. */
class ImageMethodsTest {
  private static final TaskConfig TASK =
      new TaskConfig("image-classification", List.of("a", "b", "c"), "auto", 64);

  /** Methods that act on what a model of images has not, with a word of their reason. */
  private static final Map<String, String> REFUSED =
      Map.of(
          "PROMPT_TUNING", "word embeddings",
          "DEPT", "word embeddings",
          "LN_TUNING", "close names are [layernorm");

  @TempDir static Path folder;
  private static SharedBase base;
  private static Examples examples;

  @BeforeAll
  static void load() {
    ModelDirectory directory = ModelDirectory.open(TinyVit.write(folder.resolve("model")));
    base = new SharedBase(directory, TASK);
    Examples.Builder builder = Examples.builder();
    for (int i = 0; i < 24; i++) {
      float[] image = Philox.of(5, "image", i).gaussian(TinyVit.SIDE * TinyVit.SIDE, 0.3);
      for (int x = 0; x < TinyVit.SIDE; x++) {
        image[(1 + i % 3) * TinyVit.SIDE + x] += 2;
      }
      builder.addMedia(image, new int[] {1, TinyVit.SIDE, TinyVit.SIDE}, i % 3);
    }
    examples = builder.build();
  }

  @AfterAll
  static void close() {
    base.close();
  }

  static Stream<String> types() {
    return PeftMethods.all().stream().map(PeftMethod::peftType);
  }

  private static TunableModel started(String type) {
    Map<String, Object> fields =
        new TreeMap<>(PeftMethods.writeConfig(PeftMethods.named(type).defaults()));
    fields.putAll(TinySettings.of(type));
    return base.withPeft(PeftMethods.readConfig(fields)).started(3);
  }

  @ParameterizedTest
  @MethodSource("types")
  void learnsOrSaysWhyNot(String type) {
    String reason = REFUSED.get(type);
    if (reason != null) {
      assertThatThrownBy(() -> started(type))
          .isInstanceOf(ConfigException.class)
          .hasMessageContaining(reason);
      return;
    }
    TunableModel model = started(type);
    TrainConfig training =
        new TrainConfig(
            8, 0, 8, 1, "adamw", 1e-2, 0, 0.9, 0.999, 1e-8, 0, "constant", "federation", 0, false);
    LocalTrainer trainer = new LocalTrainer(model, training);
    var start = model.initialParameters(3);
    var trained = trainer.train(start, examples, LocalPlan.alone(3));
    assertThat(model.withState(trained.state()).layout().size()).isPositive();
    double before = trainer.evaluate(start, examples).loss();
    double after =
        new LocalTrainer(model.withState(trained.state()), training)
            .evaluate(trained.parameters(), examples)
            .loss();
    assertThat(after).isLessThan(before);
    if (Set.of("LORA", "PROMPT_TUNING").contains(type)) {
      assertThat(TrainingMemory.activations(model, 8, false).orElseThrow()).isPositive();
    }
  }
}
