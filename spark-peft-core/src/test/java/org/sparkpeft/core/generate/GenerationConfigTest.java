package org.sparkpeft.core.generate;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.testing.SharedFiles;

class GenerationConfigTest {

  @Test
  void readsHuggingFaceNamesAndDefaults() {
    GenerationConfig config =
        GenerationConfig.of(
            Map.of(
                "max_new_tokens",
                7,
                "do_sample",
                true,
                "top_p",
                0.9,
                "eos_token_id",
                List.of(3, 4),
                "stop_strings",
                "end",
                "early_stopping",
                "never",
                "seed",
                1L << 40));
    assertThat(config.length()).isEqualTo(new GenerationConfig.Length(7, 20, 0, 0));
    assertThat(config.sampling())
        .isEqualTo(new GenerationConfig.Sampling(true, 1, 50, 0.9, 0, 1, 0, 0));
    assertThat(config.tokens().eos()).containsExactly(3, 4);
    assertThat(config.stopStrings()).containsExactly("end");
    assertThat(config.beams().earlyStopping()).isEqualTo(GenerationConfig.EarlyStopping.NEVER);
    assertThat(config.seed()).isEqualTo(1L << 40);
  }

  @ParameterizedTest
  @CsvSource({
    "temperature, 0, above 0",
    "top_p, 0, above 0 and at most 1",
    "top_p, 1.5, above 0 and at most 1",
    "min_p, -0.1, from 0 to 1",
    "num_beams, 0, at least 1",
    "repetition_penalty, 0, above 0",
    "top_k, 1.5, whole number",
    "guidance_scale, 2, not supported",
    "num_beam_groups, 2, not supported",
    "top_q, 2, unknown; known are",
  })
  void refusesBadSettingsByName(String key, double value, String message) {
    Object given = value == Math.rint(value) ? (Object) (int) value : value;
    assertThatThrownBy(() -> GenerationConfig.of(Map.of(key, given)))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("generation." + key)
        .hasMessageContaining(message);
  }

  @Test
  void refusesSettingsThatContradictEachOther() {
    assertThatThrownBy(() -> GenerationConfig.of(Map.of("do_sample", true, "num_beams", 2)))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("num_beams");
    assertThatThrownBy(() -> GenerationConfig.of(Map.of("num_return_sequences", 2)))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("num_return_sequences");
    GenerationConfig.Length length = GenerationConfig.of(Map.of("max_length", 5)).length();
    assertThat(length.budget(4)).isEqualTo(1);
    assertThatThrownBy(() -> length.budget(5))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("leaves no room");
  }

  @Test
  void aModelsFilesThenWhatIsReplaced(@TempDir Path dir) throws IOException {
    Path model = SharedFiles.find("golden/architectures/bart");
    for (String file : List.of("config.json", "model.safetensors")) {
      Files.copy(model.resolve(file), dir.resolve(file));
    }
    Files.writeString(
        dir.resolve("generation_config.json"),
        """
        {"num_beams": 4, "early_stopping": true, "max_length": 30, "forced_eos_token_id": 2,
         "length_penalty": null, "transformers_version": "5.17.0"}""");
    GenerationConfig config = GenerationConfig.of(ModelDirectory.open(dir), Map.of("num_beams", 2));
    assertThat(config.beams())
        .isEqualTo(new GenerationConfig.Beams(2, 1, 1, GenerationConfig.EarlyStopping.TRUE));
    assertThat(config.length().budget(1)).isEqualTo(29);
    // From config.json, which the generation file leaves out.
    assertThat(config.tokens().eos()).containsExactly(2);
    assertThat(config.tokens().decoderStart()).hasValue(2);
    assertThat(config.tokens().forcedEos()).containsExactly(2);
    Files.writeString(dir.resolve("generation_config.json"), "{\"bad_words_ids\": [[3]]}");
    assertThatThrownBy(() -> GenerationConfig.of(ModelDirectory.open(dir), Map.of()))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("generation.bad_words_ids")
        .hasMessageContaining(dir.toString());
  }
}
