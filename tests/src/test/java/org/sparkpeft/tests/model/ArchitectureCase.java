package org.sparkpeft.tests.model;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.sparkpeft.core.model.ImageTextBatch;
import org.sparkpeft.core.model.ModelInput;
import org.sparkpeft.core.model.TokenBatch;

/** One input of a fixture, as the models read it, and which of its outputs count. */
record ArchitectureCase(JsonNode json, int padId) {
  static final int IGNORE = -100;

  String name() {
    return json.path("name").asText();
  }

  JsonNode inputs() {
    return json.get("inputs");
  }

  ModelInput input(Optional<JsonNode> decoderIds) {
    if (!inputs().has("input_ids")) {
      return MediaInputs.of(inputs(), decoderIds, padId);
    }
    TokenBatch tokens = tokens(inputs());
    if (inputs().has("pixel_values")) {
      return new ImageTextBatch(MediaInputs.pixels(inputs().get("pixel_values")), tokens);
    }
    if (decoderIds.isEmpty()) {
      return tokens;
    }
    List<int[]> rows = new ArrayList<>();
    decoderIds.get().forEach(row -> rows.add(ints(row)));
    return tokens.withTarget(TokenBatch.of(rows, padId));
  }

  private TokenBatch tokens(JsonNode inputs) {
    List<int[]> sequences = new ArrayList<>();
    List<int[]> types = new ArrayList<>();
    boolean left = false;
    for (int row = 0; row < inputs.get("input_ids").size(); row++) {
      JsonNode mask = inputs.path("attention_mask").path(row);
      left |= mask.path(0).asInt(1) == 0;
      sequences.add(kept(inputs.get("input_ids").get(row), mask));
      if (inputs.has("token_type_ids")) {
        types.add(kept(inputs.get("token_type_ids").get(row), mask));
      }
    }
    TokenBatch batch =
        left ? TokenBatch.leftPadded(sequences, padId) : TokenBatch.of(sequences, types, padId);
    if (!inputs.has("position_ids")) {
      return batch;
    }
    int[][] positions = new int[batch.size()][];
    for (int row = 0; row < positions.length; row++) {
      positions[row] = ints(inputs.get("position_ids").get(row));
    }
    return batch.withPositions(positions);
  }

  static int[] kept(JsonNode values, JsonNode mask) {
    List<Integer> kept = new ArrayList<>();
    for (int t = 0; t < values.size(); t++) {
      if (mask.path(t).asInt(1) == 1) {
        kept.add(values.get(t).intValue());
      }
    }
    return kept.stream().mapToInt(Integer::intValue).toArray();
  }

  static int[] ints(JsonNode list) {
    int[] values = new int[list.size()];
    for (int i = 0; i < values.length; i++) {
      values[i] = list.get(i).intValue();
    }
    return values;
  }

  /** Whether an output at a position counts: not where the input is padding. */
  boolean counts(int row, int position, boolean encoderDecoder) {
    JsonNode mask = inputs().path("attention_mask");
    return encoderDecoder || mask.isMissingNode() || mask.get(row).path(position).asInt(1) == 1;
  }
}
