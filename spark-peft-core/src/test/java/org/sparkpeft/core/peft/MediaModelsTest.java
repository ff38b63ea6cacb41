package org.sparkpeft.core.peft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.sparkpeft.core.testing.SharedFiles.find;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.model.Backbone;
import org.sparkpeft.core.model.Backbones;
import org.sparkpeft.core.model.FrameBatch;
import org.sparkpeft.core.model.HeadConfig;
import org.sparkpeft.core.model.ModelInput;
import org.sparkpeft.core.model.PixelBatch;
import org.sparkpeft.core.model.TokenBatch;
import org.sparkpeft.core.model.TranscriptBatch;
import org.sparkpeft.core.model.Tuning;
import org.sparkpeft.core.model.WaveBatch;
import org.sparkpeft.core.peft.additive.Houlsby;
import org.sparkpeft.core.peft.additive.PrefixTuning;
import org.sparkpeft.core.random.Philox;

/** Methods on models of images and sound: they act where they should, and start as the base. */
class MediaModelsTest {
  private static final ComputeDevice CPU = ComputeDevice.cpu();

  @ParameterizedTest
  @ValueSource(
      strings = {
        "vit-image-classification",
        "deit-image-classification",
        "swin-image-classification",
        "clip",
        "ast-audio-classification",
        "wav2vec2-sequence-classification",
        "whisper"
      })
  void loraOnAllLinearLayers(String name) {
    LoraConfig config =
        new LoraConfig(
            2,
            4,
            0,
            new TargetModules(List.of(), TargetModules.ALL_LINEAR),
            List.of("classifier", "projector"),
            false,
            "true",
            Map.of(),
            Map.of(),
            List.of(),
            List.of());
    try (Backbone model = load(name)) {
      AttachedMethod lora = new Lora().attach(config, model.modules());
      assertThat(lora.shapes().keySet())
          .noneMatch(path -> path.contains("patch_embedding") || path.contains("conv"))
          .anyMatch(path -> path.contains("query") || path.contains("q_proj"));
      checkStartAndEffect(model, lora, input(name), true);
    }
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "vit-image-classification",
        "clip",
        "ast-audio-classification",
        "wav2vec2-sequence-classification",
        "whisper"
      })
  void adaptersAndPrefixes(String name) {
    try (Backbone model = load(name)) {
      Houlsby houlsby = new Houlsby();
      checkStartAndEffect(
          model, houlsby.attach(houlsby.defaults(), model.modules()), input(name), false);
      PrefixTuning prefix = new PrefixTuning();
      checkStartAndEffect(
          model, prefix.attach(prefix.defaults(), model.modules()), input(name), false);
    }
  }

  @Test
  void methodsThatNeedOneSizeForAllLayersRefuseSwin() {
    try (Backbone model = load("swin-image-classification")) {
      Houlsby houlsby = new Houlsby();
      assertThatThrownBy(() -> houlsby.attach(houlsby.defaults(), model.modules()))
          .isInstanceOf(ConfigException.class)
          .hasMessageContaining("transformer layers");
    }
  }

  private static void checkStartAndEffect(
      Backbone model, AttachedMethod method, ModelInput input, boolean startsAsBase) {
    Map<String, float[]> values =
        new HashMap<>(method.initialValues(1, MethodState.EMPTY, model::frozen));
    float[] base = outputs(model, input, Map.of(), method);
    if (startsAsBase) {
      float[] start = outputs(model, input, values, method);
      for (int i = 0; i < base.length; i++) {
        assertThat(start[i]).isCloseTo(base[i], Offset.offset(1e-5f));
      }
    }
    values.replaceAll(
        (tensor, start) -> Philox.of(3, "test", Philox.hash(tensor)).gaussian(start.length, 0.2));
    float[] tuned = outputs(model, input, values, method);
    assertThat(tuned).hasSameSizeAs(base);
    double change = 0;
    for (int i = 0; i < base.length; i++) {
      assertThat(tuned[i]).isFinite();
      change = Math.max(change, Math.abs(tuned[i] - base[i]));
    }
    assertThat(change).isGreaterThan(1e-3);
  }

  private static float[] outputs(
      Backbone model, ModelInput input, Map<String, float[]> values, AttachedMethod method) {
    CPU.bindThread();
    try (NDManager step = CPU.newManager()) {
      Tuning tuning = Tuning.NONE;
      if (!values.isEmpty()) {
        Map<String, NDArray> views = new HashMap<>();
        method
            .shapes()
            .forEach(
                (name, shape) ->
                    views.put(
                        name,
                        step.create(
                            values.get(name),
                            new Shape(shape.stream().mapToLong(d -> d).toArray()))));
        TokenBatch nothing = TokenBatch.of(List.of(new int[] {0}, new int[] {0}), 0);
        tuning =
            ModifiedForward.of(
                method.modifications(
                    new MethodTensors(views, Map.of()), TuningContext.inference(step, nothing)));
      }
      NDArray hidden = model.forward(step, input, tuning);
      return model.features(step, hidden, input, tuning).toFloatArray();
    }
  }

  private static Backbone load(String name) {
    CPU.bindThread();
    HeadConfig head =
        name.equals("whisper") ? HeadConfig.LANGUAGE : new HeadConfig(HeadConfig.Kind.SEQUENCE, 4);
    return Backbones.load(ModelDirectory.open(find("golden/architectures/" + name)), CPU, head);
  }

  private static ModelInput input(String name) {
    return switch (name) {
      case "ast-audio-classification" ->
          FrameBatch.of(List.of(noise(24 * 16, 1), noise(24 * 16, 2)), 24, 16);
      case "wav2vec2-sequence-classification" ->
          WaveBatch.of(List.of(noise(400, 1), noise(250, 2)));
      case "whisper" ->
          new TranscriptBatch(
              FrameBatch.of(List.of(noise(24 * 8, 1), noise(24 * 8, 2)), 24, 8),
              TokenBatch.of(List.of(new int[] {151, 4}, new int[] {151, 9}), 150));
      default -> {
        int side = name.startsWith("swin") ? 32 : 16;
        int size = 3 * side * side;
        yield PixelBatch.of(List.of(noise(size, 1), noise(size, 2)), 3, side, side);
      }
    };
  }

  private static float[] noise(int size, long seed) {
    return Philox.of(seed, "noise", 0).gaussian(size, 1);
  }
}
