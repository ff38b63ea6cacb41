package org.sparkpeft.core.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import java.util.List;
import java.util.function.UnaryOperator;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.Nf4;

/** Matrices in 4 and 16 bits: their numbers, products and gradients. */
class PackedTensorsTest {
  private static final int ROWS = 5;

  private static NDArray tensor(NDManager manager, float[] values, Integer... shape) {
    return TorchEngine.tensor(manager, values, List.of(shape));
  }

  /** {@code x Wt + b}, and the gradient by x of its product with {@code towards}. */
  private static float[][] product(
      float[] x, int in, float[] towards, UnaryOperator<NDArray> linear) {
    try (NDManager step = ComputeDevice.cpu().newManager();
        GradientScope scope = GradientScope.open()) {
      NDArray leaf = tensor(step, x, ROWS, in);
      leaf.setRequiresGradient(true);
      NDArray y = linear.apply(leaf);
      scope.backward(y.mul(tensor(step, towards, ROWS, towards.length / ROWS)).sum());
      return new float[][] {y.toFloatArray(), leaf.getGradient().toFloatArray()};
    }
  }

  private static float[][] reference(
      float[] x, float[] w, float @Nullable [] bias, float[] towards, int out, int in) {
    float[] y = new float[ROWS * out];
    double[] gradient = new double[ROWS * in];
    for (int row = 0; row < ROWS; row++) {
      for (int o = 0; o < out; o++) {
        double sum = bias == null ? 0 : bias[o];
        for (int i = 0; i < in; i++) {
          sum += (double) x[row * in + i] * w[o * in + i];
          gradient[row * in + i] += (double) towards[row * out + o] * w[o * in + i];
        }
        y[row * out + o] = (float) sum;
      }
    }
    float[] narrowed = new float[gradient.length];
    for (int i = 0; i < narrowed.length; i++) {
      narrowed[i] = (float) gradient[i];
    }
    return new float[][] {y, narrowed};
  }

  @ParameterizedTest
  @CsvSource({
    "501, 7, 32, true",
    "501, 7, 32, false",
    "24, 64, 64, true",
    "3, 5, 64, true",
    "33, 66, 4096, false"
  })
  void nf4HasTheNumbersOfItsCodesToTheBit(int out, int in, int block, boolean nested) {
    Nf4 single = Nf4.quantise(Philox.of(1, "w").gaussian(out * in, 1), block);
    Nf4 numbers = nested ? single.nested() : single;
    float[] x = Philox.of(2, "x").gaussian(ROWS * in, 1);
    float[] bias = Philox.of(3, "b").gaussian(out, 1);
    float[] towards = Philox.of(4, "t").gaussian(ROWS * out, 1);
    try (NDManager manager = ComputeDevice.cpu().newManager();
        NDManager step = manager.newSubManager()) {
      Nf4Tensor.Codebook codebook = Nf4Tensor.Codebook.in(manager);
      Nf4Tensor packed = Nf4Tensor.of(codebook, numbers, out, in);
      int owned = manager.getManagedArrays().size();
      assertThat(packed.unpacked(step).toFloatArray()).isEqualTo(numbers.dequantise());
      NDArray place = step.zeros(new Shape(packed.room()));
      assertThat(packed.unpackInto(place).toFloatArray()).isEqualTo(numbers.dequantise());
      for (float[] added : new float[][] {bias, null}) {
        float[][] expected = reference(x, numbers.dequantise(), added, towards, out, in);
        float[][] found =
            product(
                x,
                in,
                towards,
                leaf ->
                    packed.linear(
                        leaf, added == null ? null : tensor(leaf.getManager(), added, out)));
        for (int part = 0; part < 2; part++) {
          assertThat(found[part]).containsExactly(expected[part], within(1e-4f));
        }
      }
      step.close();
      assertThat(manager.getManagedArrays().size()).isEqualTo(owned);
    }
  }

  @Test
  void nf4TakesLittleMoreThanFourBits() {
    float[] values = Philox.of(1, "w").gaussian(512 * 512, 1);
    try (NDManager manager = ComputeDevice.cpu().newManager()) {
      Nf4Tensor.Codebook codebook = Nf4Tensor.Codebook.in(manager);
      Nf4 numbers = Nf4.quantise(values, 64);
      double bits = 8.0 / values.length;
      assertThat(bits * Nf4Tensor.of(codebook, numbers.nested(), 512, 512).bytes())
          .isCloseTo(4.127, within(0.001));
      assertThat(bits * Nf4Tensor.of(codebook, numbers, 512, 512).bytes()).isEqualTo(4.5);
    }
  }

  /** What is multiplied is rounded, and the result once more. */
  @ParameterizedTest
  @EnumSource(HalfTensor.Type.class)
  void halfMultipliesRoundedNumbers(HalfTensor.Type type) {
    int out = 33;
    int in = 65;
    float[] w = Philox.of(1, "w").gaussian(out * in, 1);
    float[] x = Philox.of(2, "x").gaussian(ROWS * in, 1);
    float[] bias = Philox.of(3, "b").gaussian(out, 1);
    float[] towards = Philox.of(4, "t").gaussian(ROWS * out, 1);
    float ulp = type == HalfTensor.Type.BFLOAT16 ? 1f / 256 : 1f / 2048;
    try (NDManager manager = ComputeDevice.cpu().newManager();
        NDManager step = manager.newSubManager()) {
      HalfTensor half = HalfTensor.of(manager, w, List.of(out, in), type);
      float[] rounded = half.widened(step).toFloatArray();
      for (int i = 0; i < w.length; i++) {
        assertThat(rounded[i]).isCloseTo(w[i], within(Math.abs(w[i]) * ulp));
      }
      assertThat(rounded).isNotEqualTo(w);
      float[] roundX = rounded(manager, x, type);
      float[] roundTowards = rounded(manager, towards, type);
      float[][] expected =
          new float[][] {
            reference(roundX, rounded, bias, towards, out, in)[0],
            reference(roundX, rounded, bias, roundTowards, out, in)[1]
          };
      float[][] found =
          product(x, in, towards, leaf -> half.linear(leaf, tensor(leaf.getManager(), bias, out)));
      for (int part = 0; part < 2; part++) {
        for (int i = 0; i < found[part].length; i++) {
          float size = Math.abs(expected[part][i]) + (part == 0 ? Math.abs(bias[i % out]) : 0);
          assertThat(found[part][i]).isCloseTo(expected[part][i], within(size * ulp + 1e-4f));
        }
      }
      long[] ids = {2, 32, 2};
      float[] rows = half.rows(step.create(ids)).toFloatArray();
      for (int i = 0; i < rows.length; i++) {
        assertThat(rows[i]).isEqualTo(rounded[(int) ids[i / in] * in + i % in]);
      }
      assertThat(half.bytes()).isEqualTo(2L * out * in);
    }
  }

  private static float[] rounded(NDManager manager, float[] values, HalfTensor.Type type) {
    try (NDManager scratch = manager.newSubManager()) {
      return HalfTensor.of(scratch, values, List.of(values.length), type)
          .widened(scratch)
          .toFloatArray();
    }
  }
}
