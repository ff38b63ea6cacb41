package org.sparkpeft.core.engine;

import static org.assertj.core.api.Assertions.assertThat;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

class ScalarsTest {

  /** Freed buffers are overwritten between the forward and the backward pass. */
  @Test
  void gradientsSurviveTheGarbageCollector() {
    try (NDManager manager = ComputeDevice.cpu().newManager()) {
      NDArray x = manager.ones(new Shape(5));
      x.setRequiresGradient(true);
      try (GradientScope scope = GradientScope.open()) {
        List<NDArray> terms = new ArrayList<>();
        for (int i = 0; i < 200; i++) {
          terms.add(Scalars.times(x, 0.25f).sum());
        }
        for (int i = 0; i < 5; i++) {
          System.gc();
          for (int b = 0; b < 2000; b++) {
            ByteBuffer.allocateDirect(4).putFloat(0, Float.NaN);
          }
        }
        NDArray sum = terms.get(0);
        for (NDArray term : terms.subList(1, terms.size())) {
          sum = sum.add(term);
        }
        scope.backward(sum);
      }
      assertThat(x.getGradient().toFloatArray()).containsOnly(50f);
    }
  }
}
