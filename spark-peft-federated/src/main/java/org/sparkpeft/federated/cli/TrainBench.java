package org.sparkpeft.federated.cli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import java.util.stream.IntStream;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.model.Backbones;
import org.sparkpeft.core.model.InputForm;
import org.sparkpeft.core.model.TokenExamples;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.train.TaskConfig;
import org.sparkpeft.core.train.TunableModel;
import org.sparkpeft.federated.client.ExecutorRuntime;
import org.sparkpeft.federated.client.RuntimeSpec;
import org.sparkpeft.federated.config.Recipe;

/**
 * Times optimiser updates of one training in this process: from one update's beginning to the
 * next's, with everything between, batches included. Memory is the process', as the system counts
 * it.
 */
final class TrainBench {
  static final List<String> COLUMNS =
      List.of(
          "model",
          "method",
          "dtype",
          "batch",
          "length",
          "threads",
          "steps",
          "step_ms",
          "fastest_ms",
          "tokens_per_s",
          "examples_per_s",
          "before_mb",
          "peak_mb",
          "loss");

  static final List<String> NOTES =
      List.of(
          "step_ms: median; tokens_per_s, examples_per_s: from all timed updates, without padding",
          "before_mb, peak_mb: resident memory of the process with the model loaded, and the most"
              + " in training");

  private static final int LABELS = 4;

  private final Recipe recipe;
  private final int warmup;
  private final int steps;

  /**
   * @param warmup updates before the clock starts
   * @param steps updates timed; 0 for a pass over all examples
   */
  TrainBench(Recipe recipe, int warmup, int steps) {
    this.recipe = recipe;
    this.warmup = warmup;
    this.steps = steps;
  }

  /** The task for which a model is timed on made-up examples: its own. */
  static String task(ModelDirectory directory) {
    return switch (Backbones.input(directory).kind()) {
      case IMAGE -> "image-classification";
      case FRAMES, SAMPLES -> "audio-classification";
      case TOKENS ->
          Backbones.isEncoderDecoder(directory)
              ? "text2text-generation"
              : Backbones.isDecoder(directory) ? "text-generation" : "text-classification";
    };
  }

  static Outcome table(Map<String, Object> row) {
    return Table.of(COLUMNS, List.of(row), NOTES);
  }

  /** On one batch of made-up examples of full length, again and again. */
  Map<String, Object> onMadeUp() {
    List<String> labels = IntStream.range(0, LABELS).mapToObj(i -> "label-" + i).toList();
    TaskConfig task =
        new TaskConfig(
                recipe.model().task(),
                recipe.model().isLanguage() ? List.of() : labels,
                recipe.model().pooling(),
                recipe.model().maxLength(),
                recipe.model().preference())
            .resolvedFor(ModelDirectory.resolve(recipe.model().path()));
    RuntimeSpec runtime =
        new RuntimeSpec(recipe.model().path(), task, recipe.peft(), recipe.spark().taskCpus())
            .withForm(recipe.model().form());
    TunableModel model = ExecutorRuntime.of(runtime).model().started(recipe.run().seed());
    if (recipe.model().maxLength() > model.config().maxTokens()
        && model.input().kind() == InputForm.Kind.TOKENS) {
      throw new ConfigException(
          "--length",
          "the model reads at most "
              + model.config().maxTokens()
              + " tokens, got "
              + recipe.model().maxLength());
    }
    return measure(model, new MadeUp(model, recipe));
  }

  /** On given examples, in the batches that a training makes of them. */
  Map<String, Object> on(RuntimeSpec runtime, TokenExamples examples) {
    return measure(ExecutorRuntime.of(runtime).model().started(recipe.run().seed()), examples);
  }

  private Map<String, Object> measure(TunableModel model, TokenExamples examples) {
    int size = recipe.train().batchSize() * recipe.train().gradientAccumulationSteps();
    int timed = steps > 0 ? steps : (examples.size() + size - 1) / size;
    OptionalLong before = resident("VmRSS:");
    forgetPeak();
    if (warmup > 0) {
      train(model, examples, warmup);
    }
    TimedTraining run = train(model, examples, timed);
    OptionalLong peak = resident("VmHWM:");
    double[] millis = run.millis();
    double seconds = Arrays.stream(millis).sum() * 1e-3;
    Map<String, Object> row = new LinkedHashMap<>();
    row.put("model", model.directory().path().getFileName().toString());
    row.put("method", recipe.peft().peftType());
    row.put("dtype", model.baseForm().dtype());
    row.put("batch", recipe.train().batchSize());
    row.put("length", recipe.model().maxLength());
    row.put("threads", recipe.spark().taskCpus());
    row.put("steps", timed);
    double[] sorted = Arrays.stream(millis).sorted().toArray();
    int half = sorted.length / 2;
    row.put(
        "step_ms", sorted.length % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2);
    row.put("fastest_ms", sorted[0]);
    row.put("tokens_per_s", run.result().tokens() / seconds);
    row.put("examples_per_s", run.examples() / seconds);
    before.ifPresent(kb -> row.put("before_mb", kb / 1e3));
    peak.ifPresent(kb -> row.put("peak_mb", kb / 1e3));
    row.put("loss", run.result().meanLoss());
    return row;
  }

  private TimedTraining train(TunableModel model, TokenExamples examples, int updates) {
    return TimedTraining.run(model, recipe.train(), examples, recipe.run().seed(), updates);
  }

  /** A value of the process in kB; empty where the system does not tell. */
  private static OptionalLong resident(String name) {
    try (var lines = Files.lines(Path.of("/proc/self/status"))) {
      return lines
          .filter(line -> line.startsWith(name))
          .mapToLong(line -> Long.parseLong(line.replaceAll("\\D", "")))
          .findFirst();
    } catch (IOException e) {
      return OptionalLong.empty(); // not Linux
    }
  }

  /** Lets the system count the most memory from now on; where it cannot, from the start. */
  private static void forgetPeak() {
    try {
      Files.writeString(Path.of("/proc/self/clear_refs"), "5");
    } catch (IOException e) {
      // Not Linux, or not allowed: the peak is that of the whole process.
    }
  }

  /** A batch of random examples of full length. */
  private static final class MadeUp implements TokenExamples {
    private final int size;
    private final int length;
    private final int vocabulary;
    private final boolean words;
    private final List<Integer> form;
    private final long seed;

    MadeUp(TunableModel model, Recipe recipe) {
      boolean text = model.input().kind() == InputForm.Kind.TOKENS;
      this.size = recipe.train().batchSize();
      this.length = text ? recipe.model().maxLength() : 0;
      this.vocabulary = model.config().vocabulary();
      this.words = recipe.model().isLanguage();
      this.form = text ? List.of() : form(model.input(), recipe.model().maxLength());
      this.seed = recipe.run().seed();
    }

    /** Recordings of any length are as long as asked for. */
    private static List<Integer> form(InputForm input, int length) {
      return input.kind() == InputForm.Kind.SAMPLES ? List.of(length) : input.shape();
    }

    @Override
    public int size() {
      return size;
    }

    @Override
    public int[] tokens(int index) {
      Philox random = Philox.of(seed, "bench", index);
      int[] ids = new int[length];
      Arrays.setAll(ids, t -> (int) (random.doubleAt(t) * vocabulary));
      return ids;
    }

    @Override
    public int[] pair(int index) {
      return new int[0];
    }

    @Override
    public int[] classes(int index) {
      return words ? tokens(index) : new int[] {index % LABELS};
    }

    @Override
    public float[] values(int index) {
      return new float[0];
    }

    @Override
    public float[] input(int index) {
      int count = form.stream().reduce(1, Math::multiplyExact);
      return Philox.of(seed, "bench", index).gaussian(count, 1);
    }

    @Override
    public int[] shape(int index) {
      return form.stream().mapToInt(Integer::intValue).toArray();
    }
  }
}
