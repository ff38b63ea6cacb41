package org.sparkpeft.tests.peft;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Path;
import java.util.BitSet;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.IntUnaryOperator;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.model.TokenExamples;
import org.sparkpeft.core.peft.HeadOnlyConfig;
import org.sparkpeft.core.peft.PeftMethods;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.train.LocalPlan;
import org.sparkpeft.core.train.LocalTrainer;
import org.sparkpeft.core.train.TaskConfig;
import org.sparkpeft.core.train.TrainConfig;
import org.sparkpeft.core.train.TunableModel;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;
import org.sparkpeft.core.vector.TaskVector;
import org.sparkpeft.federated.aggregate.Accumulator;
import org.sparkpeft.federated.aggregate.AggregateConfig;
import org.sparkpeft.federated.aggregate.Aggregator;
import org.sparkpeft.federated.aggregate.Stretches;
import org.sparkpeft.merge.compress.Codec;
import org.sparkpeft.merge.compress.CodecConfig;
import org.sparkpeft.merge.compress.Payload;
import org.sparkpeft.merge.compress.PayloadHeader;
import org.sparkpeft.tests.support.TinyBert;

/**
 * Experts and tasks that a client never used: its copy must not dilute what others learnt, whatever
 * the compression.
 */
class RoutedAveragingTest {
  private static final TaskConfig TASK =
      new TaskConfig("text-classification", TinyBert.LABELS, "auto", 16);

  @TempDir static Path folder;
  private static TunableModel base;

  @BeforeAll
  static void load() {
    ModelDirectory directory = ModelDirectory.open(TinyBert.write(folder.resolve("model")));
    base = TunableModel.load(directory, TASK, HeadOnlyConfig.defaults(), ComputeDevice.cpu());
  }

  @AfterAll
  static void close() {
    base.close();
  }

  private static TunableModel model(String type, Map<String, Object> settings) {
    Map<String, Object> fields =
        new TreeMap<>(PeftMethods.writeConfig(PeftMethods.named(type).defaults()));
    fields.putAll(settings);
    return base.withPeft(PeftMethods.readConfig(fields)).started(3);
  }

  /** What a client's training changes, weight decay on. */
  private static TaskVector update(
      TunableModel model, ParameterVector start, TokenExamples examples) {
    TrainConfig config =
        new TrainConfig(
            1,
            4,
            4,
            1,
            "adamw",
            1e-2,
            0.1,
            0.9,
            0.999,
            1e-8,
            1,
            "constant",
            "federation",
            0,
            false);
    return new LocalTrainer(model, config)
        .train(start, examples, LocalPlan.alone(4))
        .parameters()
        .minus(start);
  }

  private static Accumulator mean(TunableModel model, Stretches parts, int... examples) {
    AggregateConfig fedAvg = new AggregateConfig("fedavg", "examples", 0.01, 0.2, 1);
    return Aggregator.of(fedAvg)
        .zero(
            model.layout(),
            new Aggregator.Cohort(examples.length, IntStream.of(examples).sum(), parts));
  }

  private static float[] slice(TaskVector vector, String tensor, int row) {
    ParameterLayout.Entry entry = vector.layout().entry(tensor);
    int size = entry.size() / entry.shape().get(0);
    float[] slice = new float[size];
    for (int i = 0; i < size; i++) {
      slice[i] = vector.get(entry.offset() + row * size + i);
    }
    return slice;
  }

  @ParameterizedTest
  @ValueSource(strings = {"none", "compeft"})
  void aTasksFactorsAreThoseOfTheClientsThatHaveIt(String codec) {
    TunableModel model = model("MTLORA", Map.of("tasks", 3, "r_task", 2));
    ParameterVector start = model.initialParameters(1);
    Stretches parts = Stretches.of(model.layout(), model.slicedTensors());
    Codec encoder = Codec.of(new CodecConfig(codec, 0.3, "global", "mean", 1, false));
    Accumulator mean = mean(model, parts, 8, 24);
    TaskVector[] sent = new TaskVector[2];
    for (int client = 0; client < 2; client++) {
      int task = client;
      TaskVector update = update(model, start, texts(8, row -> task));
      BitSet trained = parts.touched(update);
      assertThat(trained.cardinality()).isEqualTo(parts.count() / 3);
      PayloadHeader header = PayloadHeader.of(1, "c" + client, model.layout());
      sent[client] = Payload.decode(encoder.encode(update, header), model.layout()).vector();
      mean.add(sent[client], client == 0 ? 8 : 24, trained);
    }
    TaskVector result = mean.result();
    model.layout().entries().stream()
        .filter(entry -> entry.name().contains(".task_lora_"))
        .forEach(
            entry -> {
              for (int task = 0; task < 2; task++) {
                assertThat(slice(result, entry.name(), task))
                    .as("%s of task %d", entry.name(), task)
                    .containsExactly(slice(sent[task], entry.name(), task), NEAR);
              }
              assertThat(slice(result, entry.name(), 2)).containsOnly(0);
            });
    ParameterLayout.Entry shared = model.layout().entry("classifier.weight");
    for (int i = shared.offset(); i < shared.end(); i++) {
      assertThat(result.get(i)).isCloseTo(0.25f * sent[0].get(i) + 0.75f * sent[1].get(i), NEAR);
    }
  }

  private static final org.assertj.core.data.Offset<Float> NEAR =
      org.assertj.core.data.Offset.offset(1e-6f);

  @Test
  void aTasksRoutingIsThatOfTheClientsThatHaveIt() {
    TunableModel model = model("POLY", Map.of("n_tasks", 4));
    ParameterVector start = model.initialParameters(1);
    Stretches parts = Stretches.of(model.layout(), model.slicedTensors());
    // B starts at zero and routing learns nothing before it has moved: 4 steps are enough.
    TaskVector update = update(model, start, texts(8, row -> 1 + row % 2));
    BitSet trained = parts.touched(update);
    assertThat(trained.stream().map(part -> part % 4).distinct().toArray()).containsExactly(1, 2);
    Accumulator mean = mean(model, parts, 8, 8);
    mean.add(update, 8, trained);
    TaskVector other = update(model, start, texts(8, row -> 3));
    mean.add(other, 8, parts.touched(other));
    for (ParameterLayout.Entry entry : model.layout().entries()) {
      if (entry.name().endsWith("module_logits")) {
        assertThat(slice(mean.result(), entry.name(), 0)).containsOnly(0);
        assertThat(slice(mean.result(), entry.name(), 2))
            .containsExactly(slice(update, entry.name(), 2), NEAR);
        assertThat(slice(mean.result(), entry.name(), 3))
            .containsExactly(slice(other, entry.name(), 3), NEAR);
      }
    }
  }

  @Test
  void anExpertNoTokenChoseIsNoOpinion() {
    // One expert for each token of many: a client with one text cannot have used all.
    TunableModel model = model("MOLA", Map.of("experts", List.of(32), "top_k", 1, "r", 2));
    ParameterVector start = model.initialParameters(1);
    Stretches parts = Stretches.of(model.layout(), model.slicedTensors());
    TaskVector one = update(model, start, texts(1, row -> 0));
    TaskVector many = update(model, start, texts(24, row -> 0));
    BitSet ofOne = parts.touched(one);
    assertThat(ofOne.cardinality()).isBetween(1, parts.count() - 1);
    Accumulator mean = mean(model, parts, 1, 24);
    mean.add(one, 1, ofOne);
    mean.add(many, 24, parts.touched(many));
    TaskVector result = mean.result();
    int alone = 0;
    for (ParameterLayout.Entry entry : model.layout().entries()) {
      if (!entry.name().endsWith(".mola_B")) {
        continue;
      }
      for (int expert = 0; expert < 32; expert++) {
        float[] first = slice(one, entry.name(), expert);
        float[] second = slice(many, entry.name(), expert);
        if (isZero(first) && !isZero(second)) {
          alone++;
          assertThat(slice(result, entry.name(), expert)).containsExactly(second, NEAR);
        }
      }
    }
    assertThat(alone).isPositive();
  }

  private static boolean isZero(float[] values) {
    for (float value : values) {
      if (value != 0) {
        return false;
      }
    }
    return true;
  }

  private static TokenExamples texts(int count, IntUnaryOperator taskOf) {
    return new TokenExamples() {
      @Override
      public int size() {
        return count;
      }

      @Override
      public int[] tokens(int index) {
        Philox random = Philox.of(2, "routed", index);
        return IntStream.range(0, 5 + index % 4)
            .map(i -> i == 2 ? 8 + index % 3 : 5 + (int) (random.doubleAt(i + 1) * 12))
            .toArray();
      }

      @Override
      public int[] pair(int index) {
        return new int[0];
      }

      @Override
      public int[] classes(int index) {
        return new int[] {index % 3};
      }

      @Override
      public float[] values(int index) {
        return new float[0];
      }

      @Override
      public int task(int index) {
        return taskOf.applyAsInt(index);
      }
    };
  }
}
