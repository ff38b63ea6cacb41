package org.sparkpeft.tests.peft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.IntStream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.sparkpeft.core.data.Examples;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.generate.Generated;
import org.sparkpeft.core.generate.GenerationConfig;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.peft.PeftMethods;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.train.AdapterStack;
import org.sparkpeft.core.train.LocalPlan;
import org.sparkpeft.core.train.LocalTrainer;
import org.sparkpeft.core.train.TaskConfig;
import org.sparkpeft.core.train.TrainConfig;
import org.sparkpeft.core.train.TunableModel;
import org.sparkpeft.core.train.TunedLanguageModel;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;
import org.sparkpeft.tests.support.AnyExamples;
import org.sparkpeft.tests.support.Project;

/** Examples of several tasks in one batch: each meets the weights of its own task alone. */
class TasksOfABatchTest {
  private static final long SEED = 5;
  private static final int EACH = 3;

  private static TunableModel model(String fixture, String type) {
    String task =
        switch (fixture) {
          case "swin-image-classification" -> "image-classification";
          case "llama-gqa" -> "text-generation";
          case "t5" -> "text2text-generation";
          default -> "text-classification";
        };
    List<String> labels = task.endsWith("generation") ? List.of() : List.of("a", "b", "c");
    Map<String, Object> fields =
        new TreeMap<>(PeftMethods.writeConfig(PeftMethods.named(type).defaults()));
    if (type.equals("POLY")) {
      fields.putAll(Map.of("n_tasks", 2, "gate", "sigmoid"));
    }
    return TunableModel.load(
            ModelDirectory.open(Project.shared("golden/architectures/" + fixture)),
            new TaskConfig(task, labels, "auto", 16),
            PeftMethods.readConfig(fields),
            ComputeDevice.cpu())
        .started(SEED);
  }

  /** Values at which tasks differ and no factor is 0. */
  private static ParameterVector values(TunableModel model) {
    float[] values = model.initialParameters(SEED).toArray();
    for (ParameterLayout.Entry entry : model.layout().entries()) {
      float spread = entry.name().endsWith("module_logits") ? 3 : 0.2f;
      float[] noise = Philox.of(SEED, entry.name()).gaussian(entry.size(), spread);
      for (int i = 0; i < noise.length; i++) {
        values[entry.offset() + i] += noise[i];
      }
    }
    return ParameterVector.wrap(model.layout(), values);
  }

  /** The same for each task. */
  private static Examples examples(TunableModel model, int... tasks) {
    Examples.Builder builder = Examples.builder();
    for (int task : tasks) {
      builder.ofTask(task);
      AnyExamples.add(builder, model, "tasks", EACH);
    }
    return builder.build();
  }

  private static TrainConfig training() {
    return new TrainConfig(
        1, 0, 64, 1, "sgd", 1, 0, 0, 0, 1e-8, 0, "constant", "federation", 0, false);
  }

  /** The change of one step of plain descent. */
  private static float[] step(TunableModel model, ParameterVector start, Examples all) {
    int[] whole = IntStream.range(0, all.size()).toArray();
    return new LocalTrainer(model, training())
        .train(start, all, LocalPlan.alone(SEED), 1, update -> List.of(whole))
        .parameters()
        .minus(start)
        .toArray();
  }

  /** By task and then text, whatever the order in {@code all}. */
  private static Map<String, float[]> logits(
      TunableModel model, ParameterVector values, Examples all) {
    float[][] found = new LocalTrainer(model, training()).logits(values, all);
    Map<String, float[]> byExample = new TreeMap<>();
    for (int i = 0; i < found.length; i++) {
      String input = Arrays.toString(all.tokens(i)) + Arrays.hashCode(all.input(i));
      byExample.put(all.task(i) + " " + input, found[i]);
    }
    return byExample;
  }

  @ParameterizedTest
  @CsvSource({
    "POLY, bert-sequence-classification",
    "MTLORA, bert-sequence-classification",
    "POLY, swin-image-classification",
    "MTLORA, swin-image-classification"
  })
  void aMixedBatchIsItsTasksOneByOne(String type, String fixture) {
    try (TunableModel model = model(fixture, type)) {
      ParameterVector values = values(model);
      Map<String, float[]> mixed = logits(model, values, examples(model, 1, 0));
      Map<String, float[]> alone = logits(model, values, examples(model, 0));
      Map<String, float[]> second = logits(model, values, examples(model, 1));
      double between = 0;
      assertThat(mixed).hasSize(2 * EACH);
      for (String key : alone.keySet()) {
        String other = "1" + key.substring(1);
        assertThat(mixed.get(key)).containsExactly(alone.get(key), within(1e-6f));
        assertThat(mixed.get(other)).containsExactly(second.get(other), within(1e-6f));
        between = Math.max(between, Math.abs(mixed.get(key)[0] - mixed.get(other)[0]));
      }
      assertThat(between).as("tasks differ").isGreaterThan(1e-3);
    }
  }

  /** The mixed batch's loss is the mean of both tasks', so its gradient is that of the halves. */
  @ParameterizedTest
  @CsvSource({
    "POLY, bert-sequence-classification",
    "MTLORA, bert-sequence-classification",
    "POLY, swin-image-classification",
    "MTLORA, swin-image-classification",
    "POLY, t5",
    "MTLORA, llama-gqa"
  })
  void gradientsReachOnlyTheOwnTask(String type, String fixture) {
    try (TunableModel model = model(fixture, type)) {
      ParameterVector start = values(model);
      float[] zero = step(model, start, examples(model, 0));
      float[] one = step(model, start, examples(model, 1));
      float[] both = step(model, start, examples(model, 0, 1));
      float largest = 0;
      List<String> perTask = new ArrayList<>();
      for (ParameterLayout.Entry entry : model.layout().entries()) {
        boolean tasks = entry.name().contains("task_lora") || entry.name().endsWith("_logits");
        float[] a = Arrays.copyOfRange(zero, entry.offset(), entry.end());
        float[] b = Arrays.copyOfRange(one, entry.offset(), entry.end());
        float[] sum = Arrays.copyOfRange(both, entry.offset(), entry.end());
        for (int i = 0; i < sum.length; i++) {
          assertThat(sum[i])
              .as("%s %d", entry.name(), i)
              .isCloseTo((a[i] + b[i]) / 2, within(2e-6f));
          largest = Math.max(largest, Math.abs(sum[i]));
        }
        if (tasks) {
          perTask.add(entry.name());
          int half = sum.length / 2;
          assertThat(Arrays.copyOfRange(a, half, sum.length)).containsOnly(0);
          assertThat(Arrays.copyOf(b, half)).containsOnly(0);
          assertThat(Arrays.copyOf(a, half)).as(entry.name()).isNotEqualTo(new float[half]);
          assertThat(Arrays.copyOfRange(b, half, sum.length)).isNotEqualTo(new float[half]);
        }
      }
      assertThat(perTask).isNotEmpty();
      assertThat(largest).isGreaterThan(1e-3f);
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"POLY", "MTLORA"})
  void layersThatReadWhatExamplesShareAreRefused(String type) {
    try (TunableModel model = model("deberta-v2-sequence-classification", type)) {
      assertThatThrownBy(() -> logits(model, values(model), examples(model, 0, 1)))
          .isInstanceOf(ConfigException.class)
          .hasMessageContaining("query_proj reads 1 rows that 6 examples have in common")
          .hasMessageContaining("or use a method without tasks");
    }
  }

  /** A batch of prompts, and beams, are as many rows as the generator likes. */
  @ParameterizedTest
  @CsvSource({"POLY, llama-gqa", "MTLORA, llama-gqa", "POLY, t5", "MTLORA, t5"})
  void textsAreGeneratedTogetherAsOneByOne(String type, String fixture) {
    try (TunableModel model = model(fixture, type)) {
      AdapterStack adapter = AdapterStack.NONE.with("it", model, values(model));
      TunedLanguageModel language = new TunedLanguageModel(model, adapter);
      List<int[]> prompts = List.of(new int[] {5, 9, 33}, new int[] {7, 8}, new int[] {41});
      List<List<int[]>> byTask = new ArrayList<>();
      for (int beams : new int[] {1, 3}) {
        GenerationConfig config =
            GenerationConfig.of(model.directory(), Map.of("max_new_tokens", 6, "num_beams", beams));
        for (int task = 0; task < 2; task++) {
          TunedLanguageModel own = language.ofTask(task);
          List<int[]> together = tokens(own.generate(prompts, config, Arrays::toString));
          List<int[]> alone = new ArrayList<>();
          for (int[] prompt : prompts) {
            alone.addAll(tokens(own.generate(List.of(prompt), config, Arrays::toString)));
          }
          assertThat(together).usingRecursiveComparison().isEqualTo(alone);
          byTask.add(together);
        }
      }
      assertThat(flat(byTask.get(0))).isNotEqualTo(flat(byTask.get(1)));
      assertThat(flat(tokens(language.generate(prompts, greedy(model), Arrays::toString))))
          .as("the first task where none is named")
          .isEqualTo(flat(byTask.get(0)));
    }
  }

  private static GenerationConfig greedy(TunableModel model) {
    return GenerationConfig.of(model.directory(), Map.of("max_new_tokens", 6));
  }

  private static List<int[]> tokens(List<List<Generated>> found) {
    return found.stream().map(each -> each.get(0).tokens()).toList();
  }

  private static List<List<Integer>> flat(List<int[]> texts) {
    return texts.stream().map(text -> Arrays.stream(text).boxed().toList()).toList();
  }
}
