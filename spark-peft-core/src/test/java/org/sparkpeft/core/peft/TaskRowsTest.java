package org.sparkpeft.core.peft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.random.Philox;

class TaskRowsTest {
  private static NDArray random(NDManager manager, String name, long... shape) {
    Shape all = new Shape(shape);
    return manager.create(Philox.of(1, name).gaussian((int) all.size(), 1), all);
  }

  /** Rows without positions, with one more dimension, several for each example, and any for one. */
  @ParameterizedTest
  @CsvSource({"2, 2, 0", "2, 2, 5", "2, 6, 5", "1, 7, 3"})
  void eachExampleMeetsItsOwnFactors(int examples, int rows, int positions) {
    try (NDManager manager = ComputeDevice.cpu().newManager()) {
      NDArray down = random(manager, "down", examples, 4, 2);
      NDArray up = random(manager, "up", examples, 2, 3);
      NDArray x =
          positions == 0 ? random(manager, "x", rows, 4) : random(manager, "x", rows, positions, 4);
      NDArray y = TaskRows.lowRank("a", x, down, up, 0.5f);
      assertThat(y.getShape().get(0)).isEqualTo(rows);
      assertThat(y.getShape().dimension()).isEqualTo(x.getShape().dimension());
      for (int row = 0; row < rows; row++) {
        int example = row / (rows / examples);
        float[] expected =
            x.get(row)
                .reshape(-1, 4)
                .matMul(down.get(example))
                .matMul(up.get(example))
                .toFloatArray();
        float[] found = y.get(row).toFloatArray();
        assertThat(found).hasSameSizeAs(expected);
        for (int i = 0; i < found.length; i++) {
          assertThat(found[i])
              .isCloseTo(expected[i] / 2, org.assertj.core.data.Offset.offset(1e-5f));
        }
      }
    }
  }

  @Test
  void rowsOfNoExampleAreRefused() {
    try (NDManager manager = ComputeDevice.cpu().newManager()) {
      NDArray down = random(manager, "down", 2, 4, 2);
      NDArray up = random(manager, "up", 2, 2, 3);
      assertThatThrownBy(() -> TaskRows.lowRank("a.b", random(manager, "x", 3, 5, 4), down, up, 1))
          .isInstanceOf(ConfigException.class)
          .hasMessageContaining("peft.target_modules: a.b reads 3 rows that 2 examples have");
    }
  }
}
