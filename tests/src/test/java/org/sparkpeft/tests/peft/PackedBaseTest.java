package org.sparkpeft.tests.peft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.sparkpeft.core.data.Examples;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.model.Backbone;
import org.sparkpeft.core.model.Backbones;
import org.sparkpeft.core.model.HeadConfig;
import org.sparkpeft.core.model.TokenExamples;
import org.sparkpeft.core.model.WeightForm;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethod;
import org.sparkpeft.core.peft.PeftMethods;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.train.LocalPlan;
import org.sparkpeft.core.train.LocalResult;
import org.sparkpeft.core.train.LocalTrainer;
import org.sparkpeft.core.train.TaskConfig;
import org.sparkpeft.core.train.TrainConfig;
import org.sparkpeft.core.train.TunableModel;
import org.sparkpeft.core.vector.ParameterVector;
import org.sparkpeft.tests.support.Project;

/**
 * A base in nf4 against the same numbers in float32: every method learns the same, although the
 * packed base is unpacked layer by layer, forward and backward.
 */
class PackedBaseTest {
  private static final long SEED = 7;
  private static final WeightForm NF4 = WeightForm.named("nf4");
  private static final TaskConfig CLASSES =
      new TaskConfig("text-classification", List.of("a", "b", "c"), "auto", 16);
  private static final HeadConfig HEAD = new HeadConfig(HeadConfig.Kind.SEQUENCE, 3);
  private static final PeftConfig LORA = PeftMethods.named("LORA").defaults();

  @TempDir static Path temp;
  private static final Map<String, TunableModel> LOADED = new LinkedHashMap<>();

  private static ModelDirectory fixture(String name) {
    return ModelDirectory.open(Project.shared("golden/architectures/" + name));
  }

  @BeforeAll
  static void load() {
    ModelDirectory stored = fixture("bert-sequence-classification");
    Map<String, TensorData> tensors = new TreeMap<>();
    try (Backbone packed = Backbones.load(stored, ComputeDevice.cpu(), HEAD, NF4)) {
      packed.modules().all().stream()
          .filter(module -> !packed.missing().contains(module.path()))
          .flatMap(module -> module.tensors().entrySet().stream())
          .forEach(
              each ->
                  tensors.put(
                      each.getKey(),
                      TensorData.ofFloats(
                          each.getKey(), each.getValue(), packed.frozen(each.getKey()))));
    }
    ModelDirectory wide =
        ModelDirectory.save(
            temp.resolve("wide"),
            stored.config(),
            TensorData.byName(new ArrayList<>(tensors.values())),
            List.of());
    LOADED.put("packed", TunableModel.load(stored, CLASSES, LORA, ComputeDevice.cpu(), NF4));
    LOADED.put("wide", TunableModel.load(wide, CLASSES, LORA, ComputeDevice.cpu()));
  }

  @AfterAll
  static void close() {
    LOADED.values().forEach(TunableModel::close);
    LOADED.clear();
  }

  static Stream<String> types() {
    return PeftMethods.all().stream().map(PeftMethod::peftType);
  }

  private static TokenExamples examples(String task) {
    Examples.Builder builder = Examples.builder();
    for (int i = 0; i < 6; i++) {
      Philox random = Philox.of(1, "packed", i);
      int[] text =
          IntStream.range(0, 4 + i).map(t -> 5 + (int) (random.doubleAt(t) * 100)).toArray();
      switch (task) {
        case "text-generation" -> builder.addTokenClasses(text, text);
        case "text2text-generation" -> builder.addTargets(text, text);
        default -> builder.addClass(text, i % 3);
      }
    }
    return builder.build();
  }

  private static LocalResult train(TunableModel model, ParameterVector start, boolean twice) {
    TrainConfig training =
        new TrainConfig(
                1, 2, 6, 1, "sgd", 0.5, 0, 0, 0, 1e-8, 0, "constant", "federation", 0, false)
            .withGradientCheckpointing(twice);
    TokenExamples examples = examples(model.task().task());
    int[] all = IntStream.range(0, examples.size()).toArray();
    return new LocalTrainer(model, training)
        .train(start, examples, LocalPlan.alone(SEED), 2, update -> List.of(all));
  }

  private static void requireSame(LocalResult found, LocalResult expected, double tolerance) {
    for (int i = 0; i < 2; i++) {
      assertThat(found.losses().get(i)).isFinite();
      assertThat(found.losses().get(i))
          .isCloseTo(expected.losses().get(i), within(Math.max(1e-5, tolerance)));
    }
    float[] values = found.parameters().toArray();
    float[] others = expected.parameters().toArray();
    for (int i = 0; i < values.length; i++) {
      assertThat(values[i])
          .isCloseTo(others[i], within((float) (tolerance * Math.max(1, Math.abs(others[i])))));
    }
  }

  @ParameterizedTest
  @MethodSource("types")
  void everyMethodLearnsAsOnTheSameNumbersInFloat32(String type) {
    TunableModel packed = LOADED.get("packed");
    TunableModel wide = LOADED.get("wide");
    Map<String, Object> fields =
        new TreeMap<>(PeftMethods.writeConfig(PeftMethods.named(type).defaults()));
    fields.putAll(TinySettings.of(type));
    PeftConfig peft = PeftMethods.readConfig(fields);
    if (type.equals("QLORA")) { // asks for a packed base itself
      fields = new TreeMap<>(PeftMethods.writeConfig(LORA));
    }
    TunableModel one = packed.withPeft(peft).started(SEED);
    TunableModel other =
        wide.withPeft(type.equals("QLORA") ? PeftMethods.readConfig(qloraAsLora(peft)) : peft)
            .started(SEED);
    assertThat(one.initialParameters(SEED).toArray())
        .isEqualTo(other.initialParameters(SEED).toArray());
    LocalResult expected = train(other, other.initialParameters(SEED), false);
    LocalResult found = train(one, one.initialParameters(SEED), false);
    // SpIEL-MA's own optimiser divides by the gradient's size, and so magnifies rounding.
    requireSame(found, expected, type.equals("SPIEL_MA") ? 1e-3 : 2e-5);
    assertThat(one.whyNotFused()).isPresent();
  }

  private static Map<String, Object> qloraAsLora(PeftConfig qlora) {
    Map<String, Object> fields = new TreeMap<>(PeftMethods.writeConfig(LORA));
    Map<String, Object> theirs = PeftMethods.writeConfig(qlora);
    for (String field : List.of("r", "lora_alpha", "lora_dropout", "target_modules")) {
      fields.put(field, theirs.get(field));
    }
    return fields;
  }

  /** Layers that read what others made: an encoder's states, shared distances, rotations. */
  @ParameterizedTest
  @ValueSource(
      strings = {
        "llama-gqa text-generation",
        "gpt2 text-generation",
        "t5 text2text-generation",
        "bart text2text-generation",
        "mpnet-sequence-classification text-classification",
        "deberta-v2-sequence-classification text-classification"
      })
  void sameGradientWhetherALayerUnpacksOrComputesAgain(String which) {
    String[] parts = which.split(" ");
    List<String> labels = parts[1].endsWith("generation") ? List.of() : CLASSES.labels();
    TaskConfig task = new TaskConfig(parts[1], labels, "auto", 16);
    try (TunableModel model =
        TunableModel.load(fixture(parts[0]), task, LORA, ComputeDevice.cpu(), NF4)) {
      TunableModel started = model.started(SEED);
      float[] values = started.initialParameters(SEED).toArray();
      float[] noise = Philox.of(SEED, "away from the start").gaussian(values.length, 0.02);
      for (int i = 0; i < values.length; i++) {
        values[i] += noise[i];
      }
      ParameterVector start = ParameterVector.wrap(started.layout(), values);
      LocalResult unpacked = train(started, start, false);
      requireSame(unpacked, train(started, start, true), 3e-5);
      assertThat(unpacked.parameters().toArray()).isNotEqualTo(start.toArray());
      assertThat(train(started, start, false).parameters().toArray())
          .isEqualTo(unpacked.parameters().toArray());
    }
  }
}
