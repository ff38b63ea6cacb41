package org.sparkpeft.core.nn;

import static org.assertj.core.api.Assertions.assertThat;
import static org.sparkpeft.core.testing.SharedFiles.ints;
import static org.sparkpeft.core.testing.SharedFiles.json;

import com.fasterxml.jackson.databind.JsonNode;
import org.junit.jupiter.api.Test;

/** Hugging Face's groups of distances. */
class RelativeBucketsTest {
  private static final String GOLDEN =
      "golden/architectures/building-blocks/relative_position_buckets.json";

  @Test
  void groupsOfMpnet() {
    JsonNode golden = json(GOLDEN);
    int[] distances = ints(golden.get("relative_position"));
    for (JsonNode table : golden.get("mpnet")) {
      int[] expected = ints(table.get("bucket"));
      for (int i = 0; i < distances.length; i++) {
        assertThat(
                RelativeBuckets.bothWays(
                    distances[i],
                    table.get("num_buckets").intValue(),
                    table.get("max_distance").intValue()))
            .as("distance %d", distances[i])
            .isEqualTo(expected[i]);
      }
    }
  }

  @Test
  void groupsOfDebertaV2() {
    JsonNode golden = json(GOLDEN);
    int[] distances = ints(golden.get("relative_position"));
    for (JsonNode table : golden.get("deberta_v2")) {
      int[] expected = ints(table.get("bucket"));
      for (int i = 0; i < distances.length; i++) {
        assertThat(
                RelativeBuckets.logarithmic(
                    distances[i],
                    table.get("bucket_size").intValue(),
                    table.get("max_position").intValue()))
            .as("distance %d of %s", distances[i], table.get("bucket_size"))
            .isEqualTo(expected[i]);
      }
    }
  }
}
