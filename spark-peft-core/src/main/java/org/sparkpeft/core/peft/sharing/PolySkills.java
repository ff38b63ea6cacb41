package org.sparkpeft.core.peft.sharing;

import java.util.Arrays;

/**
 * The skills of one Poly layer as plain numbers: {@code A [splits, skills, in/splits, r]} and
 * {@code B [splits, skills, r, out/splits]} to and from {@code A [in, r]} and {@code B [r, out]}.
 */
record PolySkills(int splits, int skills, int r) {
  private static final double EPSILON = 1e-12;

  /** {@code w [splits, skills]} of a task from its logits, as in inference. */
  double[] weights(float[] logits) {
    double[] w = new double[logits.length];
    for (int q = 0; q < splits; q++) {
      double sum = EPSILON;
      for (int i = q * skills; i < (q + 1) * skills; i++) {
        w[i] = 1 / (1 + StrictMath.exp(-logits[i]));
        sum += w[i];
      }
      for (int i = q * skills; i < (q + 1) * skills; i++) {
        w[i] /= sum;
      }
    }
    return w;
  }

  /** Weights with which {@link #mixA} and {@link #mixB} give means. */
  double[] equal() {
    double[] w = new double[splits * skills];
    Arrays.fill(w, 1.0 / skills);
    return w;
  }

  /** The mixture of A, its splits below each other: {@code [in, r]}. */
  float[] mixA(double[] w, float[] a) {
    int block = a.length / (splits * skills); // in/splits * r
    double[] mixed = new double[splits * block];
    for (int qs = 0; qs < w.length; qs++) {
      for (int i = 0; i < block; i++) {
        mixed[qs / skills * block + i] += w[qs] * a[qs * block + i];
      }
    }
    return floats(mixed);
  }

  /** The mixture of B, its splits side by side: {@code [r, out]}. */
  float[] mixB(double[] w, float[] b) {
    int block = b.length / (splits * skills); // r * out/splits
    int width = block / r;
    double[] mixed = new double[splits * block];
    for (int qs = 0; qs < w.length; qs++) {
      for (int i = 0; i < block; i++) {
        int column = qs / skills * width + i % width;
        mixed[i / width * splits * width + column] += w[qs] * b[qs * block + i];
      }
    }
    return floats(mixed);
  }

  private static float[] floats(double[] values) {
    float[] narrow = new float[values.length];
    for (int i = 0; i < values.length; i++) {
      narrow[i] = (float) values[i];
    }
    return narrow;
  }

  /** {@code A [in, r]} as every skill: each mixture of them is A again. */
  float[] copiesOfA(float[] a) {
    int block = a.length / splits;
    float[] all = new float[a.length * skills];
    for (int qs = 0; qs < splits * skills; qs++) {
      System.arraycopy(a, qs / skills * block, all, qs * block, block);
    }
    return all;
  }

  /** {@code B [r, out]} as every skill. */
  float[] copiesOfB(float[] b) {
    int out = b.length / r;
    int width = out / splits;
    float[] all = new float[b.length * skills];
    for (int qs = 0; qs < splits * skills; qs++) {
      for (int k = 0; k < r; k++) {
        System.arraycopy(b, k * out + qs / skills * width, all, (qs * r + k) * width, width);
      }
    }
    return all;
  }
}
