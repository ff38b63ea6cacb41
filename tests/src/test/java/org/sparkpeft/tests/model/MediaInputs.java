package org.sparkpeft.tests.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import org.sparkpeft.core.model.FrameBatch;
import org.sparkpeft.core.model.ModelInput;
import org.sparkpeft.core.model.PixelBatch;
import org.sparkpeft.core.model.TokenBatch;
import org.sparkpeft.core.model.TranscriptBatch;
import org.sparkpeft.core.model.WaveBatch;

/** A fixture's inputs that are images or recordings. */
final class MediaInputs {
  private MediaInputs() {}

  static ModelInput of(JsonNode inputs, Optional<JsonNode> decoderIds, int padId) {
    if (decoderIds.isPresent()) {
      List<int[]> texts = new ArrayList<>();
      decoderIds.get().forEach(row -> texts.add(ArchitectureCase.ints(row)));
      return new TranscriptBatch(
          spectrograms(inputs.get("input_features")), TokenBatch.of(texts, padId));
    }
    if (inputs.has("pixel_values")) {
      return pixels(inputs.get("pixel_values"));
    }
    JsonNode values = inputs.get("input_values");
    if (!values.get(0).get(0).isArray()) {
      return waves(rows(values), inputs.path("attention_mask"));
    }
    return FrameBatch.of(rows(values), values.get(0).size(), values.get(0).get(0).size());
  }

  /** Whisper's fixtures leave out what its decoder reads: the labels, moved to the right. */
  static void addDecoderInputs(JsonNode golden, JsonNode config) {
    if (!config.path("model_type").asText().equals("whisper")) {
      return;
    }
    ArrayNode cases = ((ObjectNode) golden).putArray("decoder_inputs_from_labels");
    for (JsonNode one : golden.get("cases")) {
      ArrayNode rows = cases.addObject().putArray("decoder_input_ids");
      for (JsonNode labels : one.get("labels")) {
        ArrayNode row = rows.addArray().add(config.get("decoder_start_token_id").intValue());
        for (int t = 0; t + 1 < labels.size(); t++) {
          int label = labels.get(t).intValue();
          row.add(label == ArchitectureCase.IGNORE ? config.get("pad_token_id").intValue() : label);
        }
      }
    }
  }

  /** Frame after frame, where the fixture has them bin after bin. */
  private static FrameBatch spectrograms(JsonNode features) {
    int bins = features.get(0).size();
    int frames = features.get(0).get(0).size();
    List<float[]> turned = new ArrayList<>();
    for (float[] row : rows(features)) {
      float[] values = new float[row.length];
      for (int i = 0; i < row.length; i++) {
        values[i % frames * bins + i / frames] = row[i];
      }
      turned.add(values);
    }
    return FrameBatch.of(turned, frames, bins);
  }

  private static WaveBatch waves(List<float[]> rows, JsonNode mask) {
    List<float[]> waves = new ArrayList<>();
    for (float[] row : rows) {
      int length = row.length;
      while (mask.path(waves.size()).path(length - 1).asInt(1) == 0) {
        length--;
      }
      waves.add(Arrays.copyOf(row, length));
    }
    return WaveBatch.of(waves);
  }

  static PixelBatch pixels(JsonNode values) {
    JsonNode first = values.get(0);
    return PixelBatch.of(
        rows(values), first.size(), first.get(0).size(), first.get(0).get(0).size());
  }

  /** Mean over images and over texts of the cross entropy of finding the other. */
  static NDArray contrastiveLoss(NDManager step, NDArray logits) {
    NDArray each = logits.logSoftmax(1).add(logits.logSoftmax(0));
    int size = (int) logits.getShape().get(0);
    float[] shares = new float[size * size];
    for (int i = 0; i < size; i++) {
      shares[i * size + i] = -0.5f / size;
    }
    return each.mul(step.create(shares, logits.getShape())).sum();
  }

  /** All numbers of each element of an array. */
  static List<float[]> rows(JsonNode list) {
    List<float[]> rows = new ArrayList<>();
    for (JsonNode item : list) {
      List<Float> values = new ArrayList<>();
      collect(item, values);
      float[] row = new float[values.size()];
      for (int i = 0; i < row.length; i++) {
        row[i] = values.get(i);
      }
      rows.add(row);
    }
    return rows;
  }

  private static void collect(JsonNode node, List<Float> values) {
    if (node.isArray()) {
      node.forEach(child -> collect(child, values));
    } else {
      values.add(node.floatValue());
    }
  }
}
