package org.sparkpeft.tests.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.sparkpeft.core.model.FrameBatch;
import org.sparkpeft.core.model.ModelInput;
import org.sparkpeft.core.model.PixelBatch;
import org.sparkpeft.core.model.WaveBatch;

/** A fixture's inputs that are images or recordings. */
final class MediaInputs {
  private MediaInputs() {}

  static ModelInput of(JsonNode inputs) {
    if (inputs.has("pixel_values")) {
      return pixels(inputs.get("pixel_values"));
    }
    JsonNode values = inputs.get("input_values");
    if (!values.get(0).get(0).isArray()) {
      return waves(rows(values), inputs.path("attention_mask"));
    }
    return FrameBatch.of(rows(values), values.get(0).size(), values.get(0).get(0).size());
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
