package org.sparkpeft.core.peft.reparam;

import java.util.List;
import org.sparkpeft.core.io.BFloat16;
import org.sparkpeft.core.random.TorchGenerator;

/**
 * RandLoRA's frozen bases, as Hugging Face draws them for a seed on a processor: dense ones in
 * bfloat16, of standard deviation 1.
 *
 * @param a {@code [r, 1, m]}
 * @param b {@code [M, n, r]}
 */
record RandomBases(float[] a, float[] b) {

  /** Sizes of the bases: m, M and the rank. */
  record Sides(int smaller, int larger, int r) {
    int bases() {
      return (smaller + r - 1) / r;
    }

    List<Integer> shapeA() {
      return List.of(r, 1, smaller);
    }

    List<Integer> shapeB() {
      return List.of(larger, bases(), r);
    }
  }

  static RandomBases ofSeed(Sides sides, long seed, boolean sparse, boolean verySparse) {
    TorchGenerator random = new TorchGenerator(seed);
    int sizeA = Layers.size(sides.shapeA());
    int sizeB = Layers.size(sides.shapeB());
    if (verySparse || sparse) {
      double sparsity = verySparse ? Math.sqrt(sides.smaller()) : 3;
      float[] a = random.uniform(sizeA);
      return new RandomBases(ternary(a, sparsity), ternary(random.uniform(sizeB), sparsity));
    }
    float[] a = coarse(random, sizeA, sides.smaller());
    float[] b = new float[sizeB];
    for (int basis = 0; basis < sides.bases(); basis++) {
      float[] one = coarse(random, sides.larger() * sides.r(), sides.r());
      for (int row = 0; row < sides.larger(); row++) {
        System.arraycopy(
            one, row * sides.r(), b, (row * sides.bases() + basis) * sides.r(), sides.r());
      }
    }
    return new RandomBases(normalised(a), normalised(b));
  }

  /**
   * Kaiming's uniform start of a bfloat16 tensor: computed in float32 and rounded; what rounds to
   * the excluded upper bound becomes the lower one, as in PyTorch.
   *
   * @param fanIn number of inputs, for PyTorch the product of all sides but the first
   */
  private static float[] coarse(TorchGenerator random, int size, int fanIn) {
    float bound = (float) (1 / Math.sqrt(fanIn));
    float top = rounded(bound);
    float[] values = random.uniform(size);
    for (int i = 0; i < size; i++) {
      float value = rounded(values[i] * (2 * bound) - bound);
      values[i] = value >= top ? -top : value;
    }
    return values;
  }

  private static float rounded(double value) {
    return BFloat16.toFloat(BFloat16.fromFloat((float) value));
  }

  private static float[] normalised(float[] values) {
    float deviation = rounded(deviation(values));
    float[] normalised = new float[values.length];
    for (int i = 0; i < values.length; i++) {
      normalised[i] = rounded(values[i] / deviation);
    }
    return normalised;
  }

  private static float[] ternary(float[] uniform, double sparsity) {
    float edge = (float) (1 / (2 * sparsity));
    float upper = (float) (1 - 1 / (2 * sparsity));
    float[] values = new float[uniform.length];
    for (int i = 0; i < values.length; i++) {
      values[i] = uniform[i] < edge ? -1 : uniform[i] > upper ? 1 : 0;
    }
    float deviation = (float) deviation(values);
    for (int i = 0; i < values.length; i++) {
      values[i] /= deviation;
    }
    return values;
  }

  /** With n - 1 in the denominator. */
  private static double deviation(float[] values) {
    double sum = 0;
    for (float value : values) {
      sum += value;
    }
    double mean = sum / values.length;
    double squares = 0;
    for (float value : values) {
      squares += (value - mean) * (value - mean);
    }
    return Math.sqrt(squares / (values.length - 1));
  }
}
