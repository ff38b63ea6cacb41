package org.sparkpeft.core.train;

import java.util.ArrayList;
import java.util.List;
import org.sparkpeft.core.vector.ParameterLayout;

/**
 * {@link AdamW} with moments in 8 bits (Dettmers et al. 2021, arXiv 2110.02861): a block of 256
 * entries is decoded, updated in float32 and encoded again. Tensors of fewer than 4,096 entries
 * keep theirs in 32 bits, as bitsandbytes has it; most of LoRA's are that small, so this pays for
 * large ones: full deltas, embeddings, adapters on wide layers.
 *
 * <p>A restarted entry takes the moments given, and its age is that of the others.
 */
final class AdamW8Bit implements Optimizer {
  static final int LEAST_ENTRIES = 4096;

  private final double beta1;
  private final double beta2;
  private final double epsilon;
  private final double weightDecay;
  private final List<Part> parts = new ArrayList<>();
  private final float[] first = new float[ByteMoments.BLOCK];
  private final float[] second = new float[ByteMoments.BLOCK];
  private double power1 = 1;
  private double power2 = 1;

  /** A tensor's moments, in bytes or in floats. */
  private record Part(TensorRates.Stretch stretch, Moments first, Moments second) {}

  private interface Moments {
    void read(int block, float[] into);

    void write(int block, float[] values);

    static Moments of(int size, boolean signed) {
      if (size >= LEAST_ENTRIES) {
        ByteMoments bytes = new ByteMoments(size, signed);
        return new Moments() {
          @Override
          public void read(int block, float[] into) {
            bytes.read(block, into);
          }

          @Override
          public void write(int block, float[] values) {
            bytes.write(block, values);
          }
        };
      }
      float[] floats = new float[size];
      return new Moments() {
        @Override
        public void read(int block, float[] into) {
          int from = block * ByteMoments.BLOCK;
          System.arraycopy(floats, from, into, 0, Math.min(ByteMoments.BLOCK, size - from));
        }

        @Override
        public void write(int block, float[] values) {
          int from = block * ByteMoments.BLOCK;
          System.arraycopy(values, 0, floats, from, Math.min(ByteMoments.BLOCK, size - from));
        }
      };
    }
  }

  AdamW8Bit(
      double beta1,
      double beta2,
      double epsilon,
      double weightDecay,
      List<TensorRates.Stretch> tensors) {
    this.beta1 = beta1;
    this.beta2 = beta2;
    this.epsilon = epsilon;
    this.weightDecay = weightDecay;
    for (TensorRates.Stretch tensor : tensors) {
      int size = tensor.to() - tensor.from();
      parts.add(new Part(tensor, Moments.of(size, true), Moments.of(size, false)));
    }
  }

  /** Bytes that are remembered of all tensors. */
  static long bytes(ParameterLayout layout) {
    long sum = 0;
    for (ParameterLayout.Entry entry : layout.entries()) {
      int size = entry.size();
      sum +=
          size >= LEAST_ENTRIES
              ? 2L * (size + (long) Float.BYTES * ByteMoments.blocks(size))
              : 2L * Float.BYTES * size;
    }
    return sum;
  }

  @Override
  public void step(float[] parameters, float[] gradient, double rate) {
    power1 *= beta1;
    power2 *= beta2;
    for (Part part : parts) {
      int size = part.stretch.to() - part.stretch.from();
      for (int block = 0; block < ByteMoments.blocks(size); block++) {
        part.first.read(block, first);
        part.second.read(block, second);
        step(part.stretch, block, parameters, gradient, rate);
        part.first.write(block, first);
        part.second.write(block, second);
      }
    }
  }

  private void step(
      TensorRates.Stretch stretch, int block, float[] parameters, float[] gradient, double rate) {
    double own = rate * stretch.rate();
    float keep = (float) (1 - own * (stretch.decayed() ? weightDecay : 0));
    float size = (float) (own / (1 - power1));
    float unbias = (float) (1 / Math.sqrt(1 - power2));
    float b1 = (float) beta1;
    float c1 = (float) (1 - beta1);
    float b2 = (float) beta2;
    float c2 = (float) (1 - beta2);
    float eps = (float) epsilon;
    int from = stretch.from() + block * ByteMoments.BLOCK;
    int n = Math.min(ByteMoments.BLOCK, stretch.to() - from);
    for (int i = 0; i < n; i++) {
      float g = gradient[from + i];
      float m = b1 * first[i] + c1 * g;
      float v = b2 * second[i] + c2 * g * g;
      first[i] = m;
      second[i] = v;
      float root = (float) Math.sqrt(v) * unbias + eps;
      parameters[from + i] = keep * parameters[from + i] - size * (m / root);
    }
  }

  @Override
  public void restart(int index, double firstMoment, double secondMoment, int age) {
    for (Part part : parts) {
      int at = index - part.stretch.from();
      if (at >= 0 && index < part.stretch.to()) {
        set(part.first, at, firstMoment, first);
        set(part.second, at, secondMoment, second);
      }
    }
  }

  private static void set(Moments moments, int at, double value, float[] scratch) {
    int block = at / ByteMoments.BLOCK;
    moments.read(block, scratch);
    scratch[at % ByteMoments.BLOCK] = (float) value;
    moments.write(block, scratch);
  }
}
