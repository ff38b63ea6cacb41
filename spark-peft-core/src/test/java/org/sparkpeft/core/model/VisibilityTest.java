package org.sparkpeft.core.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.sparkpeft.core.testing.SharedFiles.ints;
import static org.sparkpeft.core.testing.SharedFiles.json;

import ai.djl.ndarray.NDManager;
import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.sparkpeft.core.engine.ComputeDevice;

/** Hugging Face's masks. */
class VisibilityTest {
  private static final ComputeDevice CPU = ComputeDevice.cpu();

  @Test
  void masks() {
    JsonNode cases = json("golden/architectures/building-blocks/masks.json").get("cases");
    assertThat(cases.size()).isEqualTo(7);
    CPU.bindThread();
    for (JsonNode one : cases) {
      JsonNode allowed = one.get("allowed");
      TokenBatch batch = batch(one);
      try (NDManager step = CPU.newManager()) {
        Visibility visible =
            Visibility.causal(
                new Pass(step, Tuning.NONE, KeyValueCache.NONE),
                batch,
                one.path("window").asInt(0));
        for (int row = 0; row < batch.size(); row++) {
          for (int i = 0; i < batch.width(); i++) {
            if (i >= batch.start(row) && i < batch.start(row) + batch.length(row)) {
              int[] expected = ints(allowed.get(row).get(i));
              assertThat(seen(visible, row, i, batch.width()))
                  .as(
                      "%s, padding %s, row %d, token %d",
                      one.get("kind"), one.get("padding"), row, i)
                  .containsExactly(expected);
            }
          }
        }
      }
    }
  }

  private static TokenBatch batch(JsonNode one) {
    JsonNode allowed = one.get("allowed");
    List<int[]> rows = new ArrayList<>();
    for (int row = 0; row < allowed.size(); row++) {
      int length = allowed.get(row).size();
      if (one.hasNonNull("attention_mask")) {
        length = java.util.Arrays.stream(ints(one.get("attention_mask").get(row))).sum();
      }
      rows.add(new int[length]);
    }
    TokenBatch batch =
        one.path("padding").asText().equals("left")
            ? TokenBatch.leftPadded(rows, 0)
            : TokenBatch.of(rows, 0);
    if (!one.has("position_ids")) {
      return batch;
    }
    int[][] documents = new int[batch.size()][];
    for (int row = 0; row < documents.length; row++) {
      documents[row] = ints(one.get("position_ids").get(row));
      int document = 0;
      for (int t = 0; t < documents[row].length; t++) {
        document += documents[row][t] == 0 ? 1 : 0;
        documents[row][t] = document;
      }
    }
    return batch.withDocuments(documents);
  }

  private static int[] seen(Visibility visible, int row, int query, int keys) {
    int[] seen = new int[keys];
    for (int key = 0; key < keys; key++) {
      if (visible.mask() == null) {
        seen[key] = visible.causal() && key > query ? 0 : 1;
      } else {
        long rows = visible.mask().getShape().get(0);
        float added = visible.mask().getFloat(rows == 1 ? 0 : row, 0, query, key);
        seen[key] = added == 0 ? 1 : 0;
      }
    }
    return seen;
  }
}
