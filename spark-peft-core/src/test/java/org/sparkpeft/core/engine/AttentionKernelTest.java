package org.sparkpeft.core.engine;

import static org.assertj.core.api.Assertions.assertThat;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.sparkpeft.core.random.Philox;

class AttentionKernelTest {
  private static final int BATCH = 2;
  private static final int QUERIES = 3;
  private static final int KEYS = 5;
  private static final int HEADS = 2;
  private static final int SIZE = 4;

  private final Philox random = Philox.of(3, "attention");

  private float[] values(int tensor, int length) {
    return random.child(tensor).gaussian(length, 1);
  }

  @Test
  void equalsTheDefinition() {
    float[] q = values(0, BATCH * QUERIES * HEADS * SIZE);
    float[] k = values(1, BATCH * KEYS * HEADS * SIZE);
    float[] v = values(2, BATCH * KEYS * HEADS * SIZE);
    float[] mask = {0, 0, 0, -3e38f, -3e38f, 0, 0, 0, 0, -3e38f};
    try (NDManager manager = ComputeDevice.cpu().newManager();
        AttentionKernel kernel = new AttentionKernel(manager, HEADS, SIZE)) {
      NDArray query = tensor(manager, q, QUERIES);
      NDArray key = tensor(manager, k, KEYS);
      NDArray value = tensor(manager, v, KEYS);
      NDArray bias = manager.create(mask, new Shape(BATCH, 1, 1, KEYS));
      assertThat(kernel.apply(query, key, value, bias).toFloatArray())
          .usingComparatorWithPrecision(1e-5f)
          .containsExactly(attention(q, k, v, mask));
      assertThat(kernel.apply(query, key, value).toFloatArray())
          .usingComparatorWithPrecision(1e-5f)
          .containsExactly(attention(q, k, v, new float[BATCH * KEYS]));
    }
  }

  @Test
  void isDifferentiable() {
    float[] q = values(0, BATCH * QUERIES * HEADS * SIZE);
    float[] k = values(1, BATCH * KEYS * HEADS * SIZE);
    float[] v = values(2, BATCH * KEYS * HEADS * SIZE);
    float[] weights = values(3, q.length);
    float[] mask = new float[BATCH * KEYS];
    try (NDManager manager = ComputeDevice.cpu().newManager();
        AttentionKernel kernel = new AttentionKernel(manager, HEADS, SIZE);
        GradientScope gradients = GradientScope.open()) {
      NDArray query = tensor(manager, q, QUERIES);
      query.setRequiresGradient(true);
      NDArray out = kernel.apply(query, tensor(manager, k, KEYS), tensor(manager, v, KEYS));
      gradients.backward(out.mul(tensor(manager, weights, QUERIES)).sum());
      float[] gradient = query.getGradient().toFloatArray();
      double epsilon = 1e-3;
      for (int i = 0; i < q.length; i += 5) {
        float[] up = q.clone();
        float[] down = q.clone();
        up[i] += (float) epsilon;
        down[i] -= (float) epsilon;
        double slope =
            (dot(attention(up, k, v, mask), weights) - dot(attention(down, k, v, mask), weights))
                / (2 * epsilon);
        assertThat((double) gradient[i])
            .isCloseTo(slope, org.assertj.core.data.Offset.offset(2e-3));
      }
    }
  }

  private static NDArray tensor(NDManager manager, float[] values, int length) {
    return TorchEngine.tensor(manager, values, List.of(BATCH, length, HEADS * SIZE));
  }

  private static double dot(float[] a, float[] b) {
    double sum = 0;
    for (int i = 0; i < a.length; i++) {
      sum += (double) a[i] * b[i];
    }
    return sum;
  }

  /** The definition, in double, one score at a time. */
  private static float[] attention(float[] q, float[] k, float[] v, float[] mask) {
    float[] out = new float[q.length];
    for (int b = 0; b < BATCH; b++) {
      for (int h = 0; h < HEADS; h++) {
        for (int t = 0; t < QUERIES; t++) {
          double[] weights = new double[KEYS];
          double total = 0;
          for (int s = 0; s < KEYS; s++) {
            double score = mask[b * KEYS + s];
            for (int d = 0; d < SIZE; d++) {
              score +=
                  q[((b * QUERIES + t) * HEADS + h) * SIZE + d]
                      * (double) k[((b * KEYS + s) * HEADS + h) * SIZE + d]
                      / Math.sqrt(SIZE);
            }
            weights[s] = Math.exp(score);
            total += weights[s];
          }
          for (int d = 0; d < SIZE; d++) {
            double sum = 0;
            for (int s = 0; s < KEYS; s++) {
              sum += weights[s] / total * v[((b * KEYS + s) * HEADS + h) * SIZE + d];
            }
            out[((b * QUERIES + t) * HEADS + h) * SIZE + d] = (float) sum;
          }
        }
      }
    }
    return out;
  }
}
