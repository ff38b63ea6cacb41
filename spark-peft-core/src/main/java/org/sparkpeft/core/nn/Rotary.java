package org.sparkpeft.core.nn;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;

/**
 * Rotary position embedding (Su et al. 2021, arXiv 2104.09864) in the form of GPT-NeoX and Llama:
 * entry i of a head turns with entry i + size/2.
 *
 * @param cos {@code [1 or batch, seq, 1, size/2]}
 * @param sin shaped as {@code cos}
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
    float[] cos = new float[positions.length * width * half];
    float[] sin = new float[cos.length];
    int at = 0;
    for (int[] row : positions) {
      for (int position : row) {
        for (float frequency : frequencies) {
          float angle = position * frequency;
          cos[at] = (float) Math.cos(angle) * scale;
          sin[at++] = (float) Math.sin(angle) * scale;
        }
      }
    }
    Shape shape = new Shape(positions.length, width, 1, half);
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
    long half = cos.getShape().get(3);
    NDArray heads = x.reshape(shape.get(0), shape.get(1), -1, headSize);
    NDList parts =
        2 * half == headSize
            ? heads.split(new long[] {half}, 3)
            : heads.split(new long[] {half, 2 * half}, 3);
    NDArray first = parts.get(0); // [batch, seq, heads, half]
    NDArray second = parts.get(1); // [batch, seq, heads, half]
    NDList turned =
        new NDList(first.mul(cos).sub(second.mul(sin)), second.mul(cos).add(first.mul(sin)));
    if (parts.size() > 2) {
      turned.add(parts.get(2));
    }
    return ai.djl.ndarray.NDArrays.concat(turned, 3).reshape(shape);
  }
}
