package org.sparkpeft.core.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import org.junit.jupiter.api.Test;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.testing.SharedFiles;

class T5ModelTest {

  @Test
  void distancesFallIntoTheBucketsOfHuggingFace() {
    JsonNode golden =
        SharedFiles.json("golden/architectures/building-blocks/relative_position_buckets.json");
    int[] distances = SharedFiles.ints(golden.get("relative_position"));
    for (JsonNode table : golden.get("buckets")) {
      int[] expected = SharedFiles.ints(table.get("bucket"));
      for (int i = 0; i < distances.length; i++) {
        int bucket =
            T5Network.bucket(
                distances[i],
                table.get("num_buckets").intValue(),
                table.get("max_distance").intValue(),
                table.get("bidirectional").booleanValue());
        assertThat(bucket).as("distance %d, %s", distances[i], table).isEqualTo(expected[i]);
      }
    }
  }

  @Test
  void statesAreScaledUnlessOldOrNewConfigurationsSayNo() {
    String folder = "golden/architectures/t5-v1_1/";
    assertThat(model(SharedFiles.json("golden/architectures/t5/config.json")).scaledOutput())
        .isTrue();
    assertThat(model(SharedFiles.json(folder + "config.json")).scaledOutput()).isFalse();
    assertThat(model(SharedFiles.json(folder + "config.json")).tied()).isTrue();
    assertThat(model(SharedFiles.json(folder + "config.legacy.json")).scaledOutput()).isFalse();
    assertThat(model(SharedFiles.json(folder + "config.legacy.json")).tied()).isFalse();
    assertThat(model(SharedFiles.json(folder + "config.legacy.json")).gated()).isTrue();
  }

  @Test
  void refusesWhatItDoesNotCompute() {
    ObjectNode config = SharedFiles.json("golden/architectures/t5/config.json").deepCopy();
    T5Model plain = model(config);
    assertThatThrownBy(() -> plain.modules(new HeadConfig(HeadConfig.Kind.SEQUENCE, 2)))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("model.task");
    config.put("feed_forward_proj", "gated-swoosh");
    assertThatThrownBy(() -> model(config))
        .isInstanceOf(FormatException.class)
        .hasMessageContaining("feed_forward_proj \"gated-swoosh\"");
    config.put("feed_forward_proj", "relu").put("relative_attention_num_buckets", 6);
    assertThatThrownBy(() -> model(config))
        .isInstanceOf(FormatException.class)
        .hasMessageContaining("relative_attention_num_buckets");
  }

  private static T5Model model(JsonNode config) {
    return T5Model.of(new ModelConfig("config.json", config));
  }
}
