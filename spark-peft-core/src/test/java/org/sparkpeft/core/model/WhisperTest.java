package org.sparkpeft.core.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.sparkpeft.core.testing.SharedFiles.find;
import static org.sparkpeft.core.testing.SharedFiles.floats;
import static org.sparkpeft.core.testing.SharedFiles.ints;
import static org.sparkpeft.core.testing.SharedFiles.json;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.io.ModelDirectory;

/** Decoding token by token, the encoder alone, and what is refused. */
class WhisperTest {
  private static final ComputeDevice CPU = ComputeDevice.cpu();
  private static final int BINS = 8;
  private static final int FRAMES = 24;

  @Test
  void decodesWithACacheWhatTheReferenceDoes() {
    JsonNode golden = json("golden/architectures/whisper/golden.json").get("generation");
    CPU.bindThread();
    try (Backbone model = Backbones.load(fixture(), CPU, HeadConfig.LANGUAGE)) {
      for (JsonNode one : golden) {
        FrameBatch recordings = recordings(one.get("inputs").get("input_features"));
        List<int[]> texts = new ArrayList<>();
        one.get("inputs").get("decoder_input_ids").forEach(row -> texts.add(ints(row)));
        int[][] sequences = new int[texts.size()][];
        for (int row = 0; row < sequences.length; row++) {
          sequences[row] = ints(one.get("sequences").get(row));
        }
        assertThat(decoded(model, recordings, texts, sequences[0].length))
            .as(one.get("name").asText())
            .isDeepEqualTo(sequences);
      }
    }
  }

  private static int[][] decoded(
      Backbone model, FrameBatch recordings, List<int[]> texts, int length) {
    int[][] sequences = new int[texts.size()][length];
    int known = texts.get(0).length;
    for (int row = 0; row < sequences.length; row++) {
      System.arraycopy(texts.get(row), 0, sequences[row], 0, known);
    }
    try (NDManager manager = CPU.newManager();
        KeyValueCache cache = KeyValueCache.open(manager)) {
      List<int[]> next = texts;
      for (int at = known; at < length; at++) {
        try (NDManager step = CPU.newManager()) {
          TranscriptBatch input = new TranscriptBatch(recordings, TokenBatch.of(next, 150));
          NDArray hidden = model.forward(step, input, Tuning.NONE, cache);
          NDArray logits =
              model.logits(model.features(step, hidden, input, Tuning.NONE), Tuning.NONE);
          long[] best = logits.argMax(2).toLongArray();
          int width = best.length / sequences.length;
          next = new ArrayList<>();
          for (int row = 0; row < sequences.length; row++) {
            sequences[row][at] = (int) best[row * width + width - 1];
            next.add(new int[] {sequences[row][at]});
          }
        }
      }
      assertThat(cache.length()).isEqualTo(length - 1);
    }
    return sequences;
  }

  @Test
  void theEncoderAloneClassifies() {
    JsonNode one = json("golden/architectures/whisper/golden.json").get("cases").get(1);
    CPU.bindThread();
    try (Backbone model =
            Backbones.load(fixture(), CPU, new HeadConfig(HeadConfig.Kind.SEQUENCE, 3));
        NDManager step = CPU.newManager()) {
      assertThat(model.missing()).containsExactlyInAnyOrder("projector", "classifier");
      assertThat(model.modules().structure().layers()).hasSize(2);
      FrameBatch input = recordings(one.get("inputs").get("input_features"));
      NDArray hidden = model.forward(step, input, Tuning.NONE);
      assertThat(hidden.toFloatArray())
          .usingComparatorWithPrecision(2e-5f)
          .containsExactly(
              floats(one.get("outputs").get("encoder_last_hidden_state").get("values")));
      NDArray features = model.features(step, hidden, input, Tuning.NONE);
      assertThat(model.logits(features, Tuning.NONE).getShape().getShape()).containsExactly(2, 3);
      FrameBatch wide = FrameBatch.of(List.of(new float[22 * BINS]), 22, BINS);
      assertThatThrownBy(() -> model.forward(step, wide, Tuning.NONE))
          .isInstanceOf(DataException.class)
          .hasMessageContaining("24 frames of 8 mel bins, got 22 x 8");
      TranscriptBatch both =
          new TranscriptBatch(
              FrameBatch.of(List.of(new float[FRAMES * BINS]), FRAMES, BINS),
              TokenBatch.of(List.of(new int[] {151}), 150));
      assertThatThrownBy(() -> model.forward(step, both, Tuning.NONE))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessageContaining("reads recordings, got TranscriptBatch");
    }
  }

  @Test
  void sinusoidsAreTheReferences() {
    JsonNode golden =
        json("golden/architectures/building-blocks/positions.json").get("whisper_sinusoids");
    assertThat(WhisperNetwork.sinusoids(6, 8))
        .usingComparatorWithPrecision(1e-6f)
        .containsExactly(floats(golden.get("values")));
  }

  @Test
  void refusesSettingsByName() {
    for (String key : List.of("scale_embedding", "use_weighted_layer_sum")) {
      ObjectNode config = (ObjectNode) fixture().config();
      config.put(key, true);
      assertThatThrownBy(() -> WhisperModel.of(new ModelConfig("config", config)))
          .isInstanceOf(FormatException.class)
          .hasMessageContaining(key);
    }
  }

  /** Frame after frame, where the fixture has them bin after bin. */
  private static FrameBatch recordings(JsonNode features) {
    List<float[]> rows = new ArrayList<>();
    for (JsonNode row : features) {
      rows.add(FrozenLayers.transposed(floats(row), BINS, FRAMES));
    }
    return FrameBatch.of(rows, FRAMES, BINS);
  }

  private static ModelDirectory fixture() {
    return ModelDirectory.open(find("golden/architectures/whisper"));
  }
}
