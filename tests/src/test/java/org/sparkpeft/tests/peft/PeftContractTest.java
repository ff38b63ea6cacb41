package org.sparkpeft.tests.peft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeFalse;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.io.AdapterDirectory;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.model.TokenExamples;
import org.sparkpeft.core.peft.HeadOnlyConfig;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethod;
import org.sparkpeft.core.peft.PeftMethods;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.train.AdapterImport;
import org.sparkpeft.core.train.LocalPlan;
import org.sparkpeft.core.train.LocalResult;
import org.sparkpeft.core.train.LocalTrainer;
import org.sparkpeft.core.train.NonFiniteException;
import org.sparkpeft.core.train.TaskConfig;
import org.sparkpeft.core.train.TrainConfig;
import org.sparkpeft.core.train.TunableModel;
import org.sparkpeft.core.vector.ParameterVector;
import org.sparkpeft.tests.support.SharedBase;
import org.sparkpeft.tests.support.TinyBert;

/** What every method on the class path must do, with its default settings on a two-layer BERT. */
class PeftContractTest {
  private static final long SEED = 5;
  private static final TaskConfig TASK =
      new TaskConfig("text-classification", TinyBert.LABELS, "auto", 16);

  @TempDir static Path folder;
  private static ModelDirectory directory;
  private static SharedBase base;

  @BeforeAll
  static void load() {
    directory = ModelDirectory.open(TinyBert.write(folder.resolve("model")));
    base = new SharedBase(directory, TASK);
  }

  @AfterAll
  static void close() {
    base.close();
  }

  static Stream<String> types() {
    return PeftMethods.all().stream().map(PeftMethod::peftType);
  }

  private static TunableModel started(String type) {
    Map<String, Object> fields = new TreeMap<>(PeftMethods.writeConfig(defaults(type)));
    fields.putAll(TinySettings.of(type));
    return base.withPeft(PeftMethods.readConfig(fields)).started(SEED);
  }

  private static PeftConfig defaults(String type) {
    return PeftMethods.named(type).defaults();
  }

  private static TrainConfig training(String optimizer, double rate) {
    return new TrainConfig(
        1, 0, 8, 1, optimizer, rate, 0, 0.9, 0.999, 1e-8, 0, "constant", "federation", 0, false);
  }

  /** Random texts whose class depends on one token. */
  private static final TokenExamples EXAMPLES =
      new TokenExamples() {
        @Override
        public int size() {
          return 24;
        }

        @Override
        public int[] tokens(int index) {
          Philox random = Philox.of(1, "contract", index);
          int length = 4 + (int) (random.doubleAt(0) * 8);
          return IntStream.range(0, length)
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
      };

  private static float[][] logits(TunableModel model, ParameterVector parameters) {
    return new LocalTrainer(model, training("sgd", 1)).logits(parameters, EXAMPLES);
  }

  private static LocalResult train(TunableModel model, ParameterVector start, int updates) {
    int[] all = IntStream.range(0, EXAMPLES.size()).toArray();
    return new LocalTrainer(model, training("adamw", 1e-2))
        .train(start, EXAMPLES, LocalPlan.alone(SEED), updates, update -> List.of(all));
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
  @MethodSource("types")
  void startsAsItSays(String type) {
    TunableModel model = started(type);
    ParameterVector start = model.initialParameters(SEED);
    assertThat(model.initialParameters(SEED)).isEqualTo(start);
    assertThat(start.isFinite()).isTrue();
    TunableModel untuned = base.in(model.baseForm());
    double change =
        distance(logits(model, start), logits(untuned, untuned.initialParameters(SEED)));
    if (model.startsAsBase()) {
      assertThat(change).as("change of logits at the start").isLessThan(1e-5);
    } else {
      assertThat(change).as("change of logits at the start").isBetween(1e-6, 100.0);
    }
  }

  /** Along a random direction, from one step of plain descent, against finite differences. */
  @ParameterizedTest
  @MethodSource("types")
  void gradientMatchesFiniteDifferences(String type) {
    // SPIEL_MA brings its own optimiser, and SPT measures before it trains.
    assumeFalse(Set.of("SPIEL_MA", "SPT").contains(type), "no plain descent to compare with");
    TunableModel model = started(type);
    ParameterVector start = moved(model);
    int[] all = IntStream.range(0, EXAMPLES.size()).toArray();
    LocalTrainer descent = new LocalTrainer(model, training("sgd", 1e-3));
    float[] before = start.toArray();
    // Not alone: what an observer decides in a whole training is no part of the gradient.
    LocalPlan plan = new LocalPlan(SEED, 1, "client", 0.4, 0.5, 0, () -> false);
    float[] after =
        descent.train(start, EXAMPLES, plan, 1, update -> List.of(all)).parameters().toArray();
    double[] gradient = new double[before.length];
    double norm = 0;
    for (int i = 0; i < gradient.length; i++) {
      double rate = 1e-3 * model.roles().apply(name(model, i)).rate();
      gradient[i] = ((double) before[i] - after[i]) / rate;
      norm += gradient[i] * gradient[i];
    }
    norm = Math.sqrt(norm);
    assertThat(norm).as("the gradient's norm").isGreaterThan(1e-3);
    double h = 1e-2;
    float[] up = before.clone();
    float[] down = before.clone();
    for (int i = 0; i < gradient.length; i++) {
      up[i] += (float) (h * gradient[i] / norm);
      down[i] -= (float) (h * gradient[i] / norm);
    }
    double slope = (loss(descent, model, up, plan) - loss(descent, model, down, plan)) / (2 * h);
    assertThat(slope).isCloseTo(norm, Offset.offset(0.03 * norm + 2e-3));
  }

  private static String name(TunableModel model, int index) {
    return model.layout().entries().stream()
        .filter(entry -> index >= entry.offset() && index < entry.end())
        .findFirst()
        .orElseThrow()
        .name();
  }

  private static double loss(LocalTrainer trainer, TunableModel model, float[] at, LocalPlan plan) {
    int[] all = IntStream.range(0, EXAMPLES.size()).toArray();
    return trainer
        .train(ParameterVector.of(model.layout(), at), EXAMPLES, plan, 1, update -> List.of(all))
        .losses()
        .get(0);
  }

  /** Starting values with noise, so that nothing is at a point of symmetry. */
  private static ParameterVector moved(TunableModel model) {
    float[] values = model.initialParameters(SEED).toArray();
    float[] noise = Philox.of(3, "noise").gaussian(values.length, 0.05);
    for (int i = 0; i < values.length; i++) {
      values[i] += noise[i];
    }
    return ParameterVector.of(model.layout(), values);
  }

  @ParameterizedTest
  @MethodSource("types")
  void savesAndLoadsToTheSameBits(String type) {
    TunableModel model = started(type);
    LocalResult result = train(model, model.initialParameters(SEED), 3);
    TunableModel trained = model.withState(result.state());
    Path saved = folder.resolve("saved-" + type);
    trained.exportAdapter(result.parameters(), saved);
    AdapterDirectory adapter = AdapterDirectory.read(saved);
    PeftConfig config = AdapterImport.config(adapter);
    TunableModel fresh = base.withPeft(config);
    TunableModel read = fresh.withState(fresh.importState(adapter));
    ParameterVector parameters = read.importAdapter(adapter);
    assertThat(logits(read, parameters))
        .as("logits of what was read")
        .isDeepEqualTo(logits(trained, result.parameters()));
    Path again = folder.resolve("again-" + type);
    read.exportAdapter(parameters, again);
    assertThat(again.resolve("adapter_model.safetensors"))
        .hasSameBinaryContentAs(saved.resolve("adapter_model.safetensors"));
    assertThat(again.resolve("adapter_config.json"))
        .hasSameBinaryContentAs(saved.resolve("adapter_config.json"));
  }

  @ParameterizedTest
  @MethodSource("types")
  void foldsIntoTheBaseOrSaysWhyNot(String type) {
    TunableModel model = started(type);
    LocalResult result = train(model, model.initialParameters(SEED), 3);
    TunableModel trained = model.withState(result.state());
    Path target = folder.resolve("fused-" + type);
    if (trained.whyNotFused().isPresent()) {
      assertThat(trained.whyNotFused().get()).isNotBlank();
      assertThatThrownBy(() -> trained.exportFused(result.parameters(), target))
          .isInstanceOf(ConfigException.class)
          .hasMessageContaining(type);
      return;
    }
    ModelDirectory fused = trained.exportFused(result.parameters(), target);
    try (TunableModel plain =
        TunableModel.load(fused, TASK, HeadOnlyConfig.defaults(), ComputeDevice.cpu())) {
      assertThat(
              distance(
                  logits(plain, plain.initialParameters(0)), logits(trained, result.parameters())))
          .as("fused against unfused")
          .isLessThan(1e-5);
    }
  }

  @ParameterizedTest
  @MethodSource("types")
  void learns(String type) {
    TunableModel model = started(type);
    LocalResult result = train(model, model.initialParameters(SEED), 30);
    assertThat(result.losses().get(29)).isLessThan(result.losses().get(0) - 0.01);
    assertThat(train(model, model.initialParameters(SEED), 30).parameters())
        .as("the same training again")
        .isEqualTo(result.parameters());
  }

  @ParameterizedTest
  @MethodSource("types")
  void refusesWhatIsNotFiniteOrMalformed(String type) {
    TunableModel model = started(type);
    float[] values = model.initialParameters(SEED).toArray();
    values[values.length / 2] = Float.NaN;
    ParameterVector broken = ParameterVector.of(model.layout(), values);
    assertThatThrownBy(() -> train(model, broken, 1)).isInstanceOf(NonFiniteException.class);

    Path saved = folder.resolve("whole-" + type);
    model.exportAdapter(model.initialParameters(SEED), saved);
    AdapterDirectory adapter = AdapterDirectory.read(saved);
    List<String> floating = new ArrayList<>();
    adapter
        .tensors()
        .forEach(
            (name, tensor) -> {
              boolean trained =
                  model.layout().entries().stream().anyMatch(e -> name.endsWith(e.name()));
              if (trained && tensor.elements() > 1) {
                floating.add(name);
              }
            });
    for (String name : List.of(floating.get(0), floating.get(floating.size() - 1))) {
      SortedMap<String, TensorData> lacking = new TreeMap<>(adapter.tensors());
      lacking.remove(name);
      assertRefused(model, adapter, lacking, type + "-lacks");
      SortedMap<String, TensorData> misshapen = new TreeMap<>(adapter.tensors());
      misshapen.put(name, TensorData.ofFloats(name, List.of(1), new float[1]));
      assertRefused(model, adapter, misshapen, type + "-misshapen");
    }
  }

  private static void assertRefused(
      TunableModel model, AdapterDirectory whole, Map<String, TensorData> tensors, String name) {
    Path target = folder.resolve("bad-" + name);
    AdapterDirectory.write(target, whole.config(), TensorData.byName(tensors.values()));
    AdapterDirectory bad = AdapterDirectory.read(target);
    assertThatThrownBy(() -> model.importAdapter(bad)).isInstanceOf(FormatException.class);
  }
}
