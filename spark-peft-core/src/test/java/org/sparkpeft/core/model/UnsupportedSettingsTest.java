package org.sparkpeft.core.model;

import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.sparkpeft.core.testing.SharedFiles.find;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.io.ModelDirectory;

/** Settings that change what a model computes, and that are not implemented, are named. */
class UnsupportedSettingsTest {
  @TempDir Path temp;

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "llama | pretraining_tp | 2",
        "llama | num_key_value_heads | 3",
        "llama | hidden_act | \"mish\"",
        "qwen2-sliding-window | layer_types | [\"full_attention\"]",
        "qwen2-sliding-window | layer_types | [\"full_attention\", \"chunked_attention\"]",
        "qwen2-sliding-window | use_sliding_window | false",
        "gemma2 | use_bidirectional_attention | true",
        "gemma2 | attn_logit_softcapping | -1",
        "opt | layer_norm_elementwise_affine | false",
        "gpt2 | scale_attn_by_inverse_layer_idx | true",
        "mpnet-sequence-classification | relative_attention_num_buckets | 16",
        "mpnet-sequence-classification | pad_token_id | 0",
        "electra-sequence-classification | position_embedding_type | \"relative_key\"",
        "deberta-v2-sequence-classification | conv_kernel_size | 3",
        "deberta-v2-sequence-classification | share_att_key | false",
        "deberta-v2-sequence-classification | pos_att_type | [\"p2p\"]",
        "deberta-v2-sequence-classification | embedding_size | 16"
      })
  void refused(String model, String key, String value) throws IOException {
    ObjectMapper mapper = new ObjectMapper();
    Path source = find("golden/architectures/" + model);
    ObjectNode config = (ObjectNode) mapper.readTree(source.resolve("config.json").toFile());
    config.set(key, mapper.readTree(value));
    Files.writeString(temp.resolve("config.json"), config.toString());
    Files.copy(source.resolve("model.safetensors"), temp.resolve("model.safetensors"));
    ModelDirectory directory = ModelDirectory.open(temp);
    String named =
        switch (key) {
          case "use_sliding_window" -> "sliding_window";
          case "num_key_value_heads" -> "key heads";
          default -> key;
        };
    assertThatThrownBy(() -> Backbones.config(directory))
        .isInstanceOf(FormatException.class)
        .hasMessageContaining(named);
  }
}
