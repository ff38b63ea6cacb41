package org.sparkpeft.tests.model;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.List;
import org.sparkpeft.core.model.FrameBatch;
import org.sparkpeft.core.model.ModelInput;
import org.sparkpeft.core.model.PixelBatch;

/** A fixture's inputs that are images or recordings. */
final class MediaInputs {
  private MediaInputs() {}

  static ModelInput of(JsonNode inputs) {
    JsonNode pixels = inputs.path("pixel_values");
    if (!pixels.isMissingNode()) {
      JsonNode first = pixels.get(0);
      return PixelBatch.of(
          rows(pixels), first.size(), first.get(0).size(), first.get(0).get(0).size());
    }
    JsonNode values = inputs.get("input_values");
    return FrameBatch.of(rows(values), values.get(0).size(), values.get(0).get(0).size());
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
