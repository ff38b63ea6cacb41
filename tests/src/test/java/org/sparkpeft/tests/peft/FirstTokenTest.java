package org.sparkpeft.tests.peft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.engine.GradientScope;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.model.Backbone;
import org.sparkpeft.core.model.Backbones;
import org.sparkpeft.core.model.FrameBatch;
import org.sparkpeft.core.model.HeadConfig;
import org.sparkpeft.core.model.ModelInput;
import org.sparkpeft.core.model.PixelBatch;
import org.sparkpeft.core.model.TokenBatch;
import org.sparkpeft.core.model.Tuning;
import org.sparkpeft.core.model.WeightForm;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.MethodTensors;
import org.sparkpeft.core.peft.ModifiedForward;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethod;
import org.sparkpeft.core.peft.PeftMethods;
import org.sparkpeft.core.peft.Probes;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.tests.support.Project;

/**
 * What a head reads is the same, and so are the gradients of every method, whether a last layer
 * computes the first tokens alone or all of them.
 */
class FirstTokenTest {
  private static final ComputeDevice CPU = ComputeDevice.cpu();
  private static final long SEED = 11;

  /** Methods for which a token's neighbours or number count. */
  private static final Set<String> NOT_TOKENWISE =
      Set.of("CONFORMER_ADAPTER", "IAA", "LIGHT_PEFT", "MOLA");

  /** Models whose head reads the first token, or two of them, and one that needs all. */
  private static final List<String> MODELS =
      List.of(
          "bert-sequence-classification",
          "mpnet-sequence-classification", // distances act on the scores: all are computed
          "vit-image-classification",
          "deit-image-classification",
          "ast-audio-classification");

  private static final Map<String, Backbone> LOADED = new LinkedHashMap<>();

  @AfterAll
  static void close() {
    LOADED.values().forEach(Backbone::close);
    LOADED.clear();
  }

  private static Backbone load(String model) {
    return LOADED.computeIfAbsent(
        model,
        name -> {
          CPU.bindThread();
          ModelDirectory directory =
              ModelDirectory.open(Project.shared("golden/architectures/" + name));
          return Backbones.load(directory, CPU, new HeadConfig(HeadConfig.Kind.SEQUENCE, 3));
        });
  }

  private static ModelInput input(String model) {
    if (model.startsWith("ast")) {
      return FrameBatch.of(List.of(noise(24 * 16, 1), noise(24 * 16, 2)), 24, 16);
    }
    if (model.contains("image")) {
      return PixelBatch.of(List.of(noise(3 * 256, 1), noise(3 * 256, 2)), 3, 16, 16);
    }
    return TokenBatch.of(
        List.of(new int[] {5, 9, 33, 70, 21, 6}, new int[] {44, 12, 80}, new int[] {7, 7}), 0);
  }

  private static float[] noise(int size, long stream) {
    return Philox.of(SEED, "input", stream).gaussian(size, 1);
  }

  static Stream<PeftConfig> methods() {
    return PeftMethods.all().stream()
        .map(
            method -> {
              Map<String, Object> fields =
                  new TreeMap<>(PeftMethods.writeConfig(method.defaults()));
              fields.putAll(TinySettings.of(method.peftType()));
              fields.computeIfPresent(
                  "adapter_dropout", (key, value) -> 0.0); // other tokens, other draws
              return PeftMethods.readConfig(fields);
            });
  }

  @ParameterizedTest
  @MethodSource("methods")
  void sameFeaturesAndGradients(PeftConfig config) {
    for (String model : MODELS) {
      Backbone backbone = load(model);
      AttachedMethod method;
      try {
        method =
            PeftMethods.attach(PeftMethods.suited(config, backbone.modules()), backbone.modules());
      } catch (ConfigException e) {
        continue; // not for this architecture
      }
      if (!method.isTokenwise()
          || !PeftMethods.baseForm(config, WeightForm.FLOAT32).equals(WeightForm.FLOAT32)) {
        continue;
      }
      List<float[]> all = pass(backbone, method, input(model), false);
      List<float[]> first = pass(backbone, method, input(model), true);
      assertThat(first).as(model).hasSameSizeAs(all);
      for (int t = 0; t < all.size(); t++) {
        float[] expected = all.get(t);
        float largest =
            0.05f; // much smaller gradients are rounding, those of key biases nothing else
        for (float value : expected) {
          largest = Math.max(largest, Math.abs(value));
        }
        assertThat(first.get(t)).as("%s, tensor %d", model, t).hasSameSizeAs(expected);
        for (int i = 0; i < expected.length; i++) {
          assertThat(first.get(t)[i])
              .as("%s, tensor %d, entry %d", model, t, i)
              .isCloseTo(expected[i], within(2e-5f * largest));
        }
      }
    }
  }

  /** Features, and the gradients of a weighted sum of them by every tensor of the method. */
  private static List<float[]> pass(
      Backbone backbone, AttachedMethod method, ModelInput input, boolean firstAlone) {
    CPU.bindThread();
    MethodState state = method.initialState(SEED, backbone::frozen);
    Map<String, float[]> values = method.initialValues(SEED, state, backbone::frozen);
    try (NDManager step = CPU.newManager()) {
      Map<String, NDArray> leaves = new LinkedHashMap<>();
      method
          .shapes()
          .forEach(
              (name, shape) -> {
                float[] start = values.get(name).clone();
                float[] noise = Philox.of(SEED, name).gaussian(start.length, 0.02);
                for (int i = 0; i < start.length; i++) {
                  start[i] += noise[i]; // so that no factor is 0
                }
                NDArray leaf =
                    step.create(start, new Shape(shape.stream().mapToLong(d -> d).toArray()));
                leaf.setRequiresGradient(true);
                leaves.put(name, leaf);
              });
      List<float[]> results = new ArrayList<>();
      try (GradientScope scope = GradientScope.open(GradientScope.Keeps.ALL);
          NDManager above = step.newSubManager()) {
        TuningContext context =
            new TuningContext(
                step, true, Philox.of(SEED, "dropout"), input, Probes.none(), new ArrayList<>());
        Tuning tuning =
            ModifiedForward.of(
                method.modifications(
                    new MethodTensors(leaves, MethodTensors.load(step, state)), context));
        NDArray features =
            firstAlone
                ? backbone.read(step, input, tuning)
                : backbone.features(step, backbone.forward(step, input, tuning), input, tuning);
        results.add(features.toFloatArray());
        if (!leaves.isEmpty()) {
          float[] weights = Philox.of(SEED, "loss").gaussian((int) features.size(), 1);
          NDArray loss = features.mul(above.create(weights, features.getShape())).sum();
          loss.attach(above);
          scope.backward(loss, above);
        }
      }
      leaves.values().forEach(leaf -> results.add(leaf.getGradient().toFloatArray()));
      return results;
    }
  }

  @Test
  void methodsThatReadNeighboursSaySo() {
    Set<String> found = new TreeSet<>();
    Backbone backbone = load("bert-sequence-classification");
    for (PeftMethod<?> method : PeftMethods.all()) {
      try {
        if (!PeftMethods.attach(method.defaults(), backbone.modules()).isTokenwise()) {
          found.add(method.peftType());
        }
      } catch (ConfigException e) {
        continue; // not for this architecture
      }
    }
    assertThat(found).isEqualTo(NOT_TOKENWISE);
  }
}
