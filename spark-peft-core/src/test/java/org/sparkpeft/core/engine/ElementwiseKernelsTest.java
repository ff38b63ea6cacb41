package org.sparkpeft.core.engine;

import static org.assertj.core.api.Assertions.assertThat;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import java.util.function.UnaryOperator;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.Test;
import org.sparkpeft.core.random.Philox;

class ElementwiseKernelsTest {
  private static final Offset<Float> CLOSE = Offset.offset(2e-6f);

  private static NDArray random(NDManager manager, long seed, long... shape) {
    Shape size = new Shape(shape);
    return manager.create(Philox.of(seed, "x").gaussian(Math.toIntExact(size.size()), 1), size);
  }

  /** The result, and the gradient of its product with random numbers. */
  private static float[][] both(NDManager manager, UnaryOperator<NDArray> function, NDArray x) {
    NDArray leaf = x.duplicate();
    leaf.setRequiresGradient(true);
    try (GradientScope scope = GradientScope.open()) {
      NDArray y = function.apply(leaf);
      NDArray factors = random(manager, 9, y.getShape().getShape());
      scope.backward(y.mul(factors).sum());
      return new float[][] {y.toFloatArray(), leaf.getGradient().toFloatArray()};
    }
  }

  private static void assertSame(UnaryOperator<NDArray> ours, UnaryOperator<NDArray> plain) {
    ComputeDevice.cpu().bindThread();
    try (NDManager manager = ComputeDevice.cpu().newManager()) {
      NDArray x = random(manager, 1, 2, 3, 2, 8);
      float[][] actual = both(manager, ours, x);
      float[][] expected = both(manager, plain, x);
      for (int part = 0; part < 2; part++) {
        assertThat(actual[part]).hasSameSizeAs(expected[part]);
        for (int i = 0; i < actual[part].length; i++) {
          assertThat(actual[part][i]).isCloseTo(expected[part][i], CLOSE);
        }
      }
    }
  }

  @Test
  void silu() {
    assertSame(ElementwiseKernels::silu, x -> x.getNDArrayInternal().sigmoid().mul(x));
  }

  @Test
  void geluTanh() {
    assertSame(
        ElementwiseKernels::geluTanh,
        x -> {
          NDArray cubic = x.square().mul(x).mul(x.getManager().create(0.044715f)).add(x);
          NDArray inner = cubic.mul(x.getManager().create((float) Math.sqrt(2 / Math.PI)));
          return inner.tanh().add(1).mul(x).mul(x.getManager().create(0.5f));
        });
  }

  @Test
  void rmsNorm() {
    assertSame(
        x -> ElementwiseKernels.rmsNorm(x, random(x.getManager(), 2, 8), 1e-5f),
        x ->
            x.div(x.square().mean(new int[] {-1}, true).add(1e-5f).sqrt())
                .mul(random(x.getManager(), 2, 8)));
  }

  @Test
  void aRowOfZerosHasANorm() {
    try (NDManager manager = ComputeDevice.cpu().newManager()) {
      float[][] both =
          both(
              manager,
              x -> ElementwiseKernels.rmsNorm(x, manager.ones(new Shape(4)), 1e-4f),
              manager.zeros(new Shape(1, 4)));
      assertThat(both[0]).containsOnly(0f);
      float[] factors = random(manager, 9, 1, 4).toFloatArray();
      for (int i = 0; i < 4; i++) {
        assertThat(both[1][i]).isCloseTo(factors[i] * 100, Offset.offset(1e-3f)); // 1/sqrt(1e-4)
      }
    }
  }

  @Test
  void rotate() {
    assertSame(
        x -> {
          NDArray cos = random(x.getManager(), 3, 1, 3, 1, 4);
          NDArray sin = random(x.getManager(), 4, 1, 3, 1, 4);
          return ElementwiseKernels.rotate(x, cos.concat(cos, 3), sin.neg().concat(sin, 3));
        },
        x -> {
          NDArray cos = random(x.getManager(), 3, 1, 3, 1, 4);
          NDArray sin = random(x.getManager(), 4, 1, 3, 1, 4);
          NDArray first = x.split(2, 3).get(0);
          NDArray second = x.split(2, 3).get(1);
          return first.mul(cos).sub(second.mul(sin)).concat(second.mul(cos).add(first.mul(sin)), 3);
        });
  }
}
