package org.sparkpeft.core.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.error.FormatException;

class SwinWindowsTest {
  private static final ComputeDevice CPU = ComputeDevice.cpu();

  @ParameterizedTest
  @CsvSource({"4, 4, 2, 1", "5, 7, 3, 1", "6, 4, 4, 2", "3, 3, 3, 0"})
  void joinUndoesSplit(int height, int width, int size, int shift) {
    SwinWindows windows = new SwinWindows(height, width, size, shift);
    CPU.bindThread();
    try (NDManager step = CPU.newManager()) {
      NDArray x = step.arange(2f * height * width * 3).reshape(2, height * width, 3);
      NDArray split = windows.split(x);
      assertThat(split.getShape().get(1)).isEqualTo(size * size);
      assertThat(windows.join(split)).isEqualTo(x);
    }
  }

  @Test
  void aShiftedGridStartsDownAndToTheRight() {
    CPU.bindThread();
    try (NDManager step = CPU.newManager()) {
      NDArray x = step.arange(16f).reshape(1, 16, 1);
      NDArray split = new SwinWindows(4, 4, 2, 1).split(x);
      assertThat(split.get(0).toFloatArray()).containsExactly(5, 6, 9, 10);
      assertThat(split.get(3).toFloatArray()).containsExactly(15, 12, 3, 0);
    }
  }

  @Test
  void tokensFromOppositeBordersDoNotSeeEachOther() {
    CPU.bindThread();
    try (NDManager step = CPU.newManager()) {
      NDArray mask = new SwinWindows(4, 4, 2, 1).mask(step, 2);
      assertThat(mask.getShape()).isEqualTo(new Shape(8, 1, 4, 4));
      assertThat(mask.get(4).toFloatArray()).containsOnly(0);
      // Left and right columns of the window at the right border.
      assertThat(mask.get(5).get(0).get(0).toFloatArray()).containsExactly(0, -100, 0, -100);
      assertThat(mask.get(7).get(0).get(2).toFloatArray()).containsExactly(-100, -100, 0, -100);
    }
  }

  @Test
  void relativePositionsCountFromTheFarthest() {
    int[] rows = SwinWindows.relativePositions(2);
    assertThat(rows[3]).isZero();
    assertThat(rows[12]).isEqualTo(8);
    assertThat(new int[] {rows[0], rows[5], rows[10], rows[15]}).containsOnly(4);
    assertThat(rows[1]).isEqualTo(3); // one to the right
  }

  @Test
  void refusesSettingsByName() throws IOException {
    refuse("{\"use_absolute_embeddings\": true}", "use_absolute_embeddings");
    refuse(
        "{\"image_size\": 16, \"embed_dim\": 8, \"depths\": [1, 1], \"num_heads\": [1]}",
        "num_heads");
    refuse(
        "{\"image_size\": 16, \"embed_dim\": 8, \"depths\": [1, 1], \"num_heads\": [1, 2],"
            + " \"window_size\": 3}",
        "window_size 3 does not fit into the 2 x 2 tokens of stage 1");
  }

  private static void refuse(String json, String message) throws IOException {
    JsonNode settings = new ObjectMapper().readTree(json);
    assertThatThrownBy(() -> SwinModel.of(new ModelConfig("config", settings)))
        .isInstanceOf(FormatException.class)
        .hasMessageContaining(message);
  }
}
