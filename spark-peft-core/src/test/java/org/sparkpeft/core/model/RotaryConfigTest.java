package org.sparkpeft.core.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.sparkpeft.core.testing.SharedFiles.floats;
import static org.sparkpeft.core.testing.SharedFiles.ints;
import static org.sparkpeft.core.testing.SharedFiles.json;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.util.Map;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.nn.Rotary;

/** Hugging Face's tables of rotary positions. */
class RotaryConfigTest {
  private static final ComputeDevice CPU = ComputeDevice.cpu();
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final int HEAD = 16;

  private static ModelConfig model(String json) {
    try {
      return new ModelConfig("config.json", JSON.readTree(json));
    } catch (JsonProcessingException e) {
      throw new IllegalArgumentException(json, e);
    }
  }

  private static RotaryConfig partial(String json) {
    return RotaryConfig.partial(model(json), HEAD, 64, 1);
  }

  @Test
  void tables() {
    JsonNode golden = json("golden/architectures/building-blocks/rope.json");
    CPU.bindThread();
    assertThat(golden.get("head_dim").intValue()).isEqualTo(HEAD);
    assertThat(golden.get("tables").size()).isGreaterThan(20);
    for (Map.Entry<String, JsonNode> table : golden.get("tables").properties()) {
      JsonNode expected = table.getValue();
      RotaryConfig config =
          RotaryConfig.of(
              model("{\"rope_parameters\": " + expected.get("parameters") + "}"),
              HEAD,
              expected.get("max_position_embeddings").intValue());
      int[] positions = ints(expected.get("positions"));
      float[] frequencies =
          config
              .scaling()
              .frequencies(config.size(), config.theta(), positions[positions.length - 1] + 1);
      float[] wanted = floats(expected.get("inv_freq"));
      assertThat(frequencies).as(table.getKey()).hasSameSizeAs(wanted);
      for (int i = 0; i < wanted.length; i++) {
        assertThat(frequencies[i])
            .as("%s, frequency %d", table.getKey(), i)
            .isCloseTo(wanted[i], Offset.offset(3e-7f * wanted[i]));
      }
      assertThat((double) config.scaling().attention())
          .as(table.getKey())
          .isCloseTo(expected.get("attention_scaling").doubleValue(), Offset.offset(1e-7));
      try (NDManager step = CPU.newManager()) {
        Rotary rotary = config.at(step, new int[][] {positions});
        checkAngles(table.getKey(), expected.get("cos"), rotary.cos(), 1, positions, wanted);
        checkAngles(table.getKey(), expected.get("sin"), rotary.sin(), -1, positions, wanted);
      }
    }
  }

  /**
   * Rounding of a frequency counts as often as there are positions.
   *
   * @param sign of the first half of a head
   */
  private static void checkAngles(
      String name,
      JsonNode expected,
      NDArray actual,
      int sign,
      int[] positions,
      float[] frequencies) {
    float[] values = actual.toFloatArray();
    int half = frequencies.length;
    for (int p = 0; p < positions.length; p++) {
      float[] row = floats(expected.get(p)); // each half of a head has the same angles
      for (int i = 0; i < 2 * half; i++) {
        assertThat(values[p * 2 * half + i])
            .as("%s, position %d, entry %d", name, positions[p], i)
            .isCloseTo(
                (i < half ? sign : 1) * row[i],
                Offset.offset(1e-6f + 3e-7f * positions[p] * frequencies[i % half]));
      }
    }
  }

  @Test
  void turnsQueriesAndKeys() {
    JsonNode golden = json("golden/architectures/building-blocks/rope.json").get("apply");
    CPU.bindThread();
    RotaryConfig config = partial("{}");
    for (String name : new String[] {"q", "k"}) {
      JsonNode heads = golden.get(name);
      Shape shape = new Shape(heads.size(), heads.get(0).size(), heads.get(0).get(0).size(), HEAD);
      try (NDManager step = CPU.newManager()) {
        NDArray x = step.create(floats(heads), shape).transpose(0, 2, 1, 3);
        Shape flat = new Shape(shape.get(0), shape.get(2), shape.get(1) * HEAD);
        Rotary rotary = config.at(step, new int[][] {ints(golden.get("positions"))});
        NDArray turned =
            rotary.apply(x.reshape(flat), HEAD).reshape(x.getShape()).transpose(0, 2, 1, 3);
        assertThat(turned.toFloatArray())
            .containsExactly(floats(golden.get("rotated_" + name)), Offset.offset(1e-6f));
      }
    }
  }

  @Test
  void olderSpellings() {
    RotaryConfig now =
        partial(
            """
            {"rope_parameters": {"rope_type": "linear", "factor": 4, "rope_theta": 500,
              "partial_rotary_factor": 0.25}}
            """);
    assertThat(now.size()).isEqualTo(4);
    assertThat(
            partial(
                """
                {"rope_theta": 500, "rope_scaling": {"type": "linear", "factor": 4.0},
                  "partial_rotary_factor": 0.25}
                """))
        .isEqualTo(now);
    assertThat(
            partial(
                """
                {"rotary_emb_base": 500, "rotary_pct": 0.25,
                  "rope_scaling": {"rope_type": "linear", "factor": 4.0}}
                """))
        .isEqualTo(now);
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "{\"rope_type\": \"mrope\"} | \"mrope\" is not supported",
        "{\"rope_type\": \"linear\"} | factor",
        "{\"factor\": 2} | factor",
        "{\"rope_type\": \"linear\", \"factor\": -1} | factor",
        "{\"full_attention\": {\"rope_theta\": 10}} | full_attention",
        "{\"rope_type\": \"longrope\", \"short_factor\": [1], \"long_factor\": [1]} | short_factor",
        "{\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 4} | low_freq_factor",
        "{\"partial_rotary_factor\": 0.2} | partial_rotary_factor"
      })
  void refusesByName(String parameters, String message) {
    assertThatThrownBy(() -> partial("{\"rope_parameters\": " + parameters + "}"))
        .isInstanceOf(FormatException.class)
        .hasMessageContaining(message);
  }

  @Test
  void aPartOfAHeadIsRefusedWhereWholeHeadsTurn() {
    ModelConfig config =
        model(
            """
            {"rope_parameters": {"rope_type": "linear", "factor": 2, "partial_rotary_factor": 0.5}}
            """);
    assertThatThrownBy(() -> RotaryConfig.of(config, HEAD, 64))
        .isInstanceOf(FormatException.class)
        .hasMessageContaining("partial_rotary_factor");
  }
}
