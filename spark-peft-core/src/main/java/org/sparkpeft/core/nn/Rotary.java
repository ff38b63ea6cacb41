package org.sparkpeft.core.nn;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import org.sparkpeft.core.engine.ElementwiseKernels;

/**
 * Rotary position embedding (Su et al. 2021, arXiv 2104.09864) in the form of GPT-NeoX and Llama:
 * entry i of a head turns with entry i + size/2.
 *
 * @param cos {@code [1 or batch, seq, 1, size]}, both halves alike
 * @param sin shaped as {@code cos}, the first half negative
 */
public record Rotary(NDArray cos, NDArray sin) {

  /**
   * Angles of the given positions.
   *
   * @param positions {@code [1 or batch][seq]}
   * @param frequencies angle for each step, one for each pair of entries; float32 as in the
   *     reference, whatever the weights are
   * @param scale factor of sines and cosines
   */
  public static Rotary of(NDManager step, int[][] positions, float[] frequencies, float scale) {
    int width = positions[0].length;
    int half = frequencies.length;
    float[] cos = new float[positions.length * width * 2 * half];
    float[] sin = new float[cos.length];
    int at = 0;
    for (int[] row : positions) {
      for (int position : row) {
        for (int i = 0; i < half; i++) {
          float angle = position * frequencies[i];
          cos[at + i] = (float) Math.cos(angle) * scale;
          cos[at + half + i] = cos[at + i];
          sin[at + half + i] = (float) Math.sin(angle) * scale;
          sin[at + i] = -sin[at + half + i];
        }
        at += 2 * half;
      }
    }
    Shape shape = new Shape(positions.length, width, 1, 2L * half);
    return new Rotary(step.create(cos, shape), step.create(sin, shape));
  }

  /**
   * Turns the first entries of each head, as many as there are angles for twice, and leaves the
   * rest.
   *
   * @param x {@code [batch, seq, heads * headSize]}
   * @return shaped as {@code x}
   */
  public NDArray apply(NDArray x, int headSize) {
    Shape shape = x.getShape();
    long size = cos.getShape().get(3);
    NDArray heads = x.reshape(shape.get(0), shape.get(1), -1, headSize);
    if (size == headSize) {
      return ElementwiseKernels.rotate(heads, cos, sin).reshape(shape);
    }
    NDList parts = heads.split(new long[] {size}, 3);
    NDArray turned = ElementwiseKernels.rotate(parts.get(0), cos, sin);
    return turned.concat(parts.get(1), 3).reshape(shape);
  }
}
