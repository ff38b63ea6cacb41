package org.sparkpeft.merge.compress;

import java.util.Optional;

/**
 * One sign bit a value, 1 for negative, and a magnitude common to all: ComPEFT (Yadav et al., 2023)
 * and sparse ternary compression (Sattler et al., 2019). The magnitude is a float of its own for
 * each tensor, before its signs, or one float for the whole payload, before all tensors.
 */
final class Ternary {
  static final int ID = 4;

  /** Signs handled together. */
  private static final int WORD = 32;

  private Ternary() {}

  /**
   * The wire format.
   *
   * @param shared the payload's one magnitude, empty when each tensor has its own
   */
  record Format(Optional<Float> shared) implements ValueFormat {
    @Override
    public int id() {
      return ID;
    }

    @Override
    public long bits(int count) {
      return count == 0 ? 0 : scaleBits() + count;
    }

    int scaleBits() {
      return shared.isPresent() ? 0 : 32;
    }

    float readScale(BitSource source) {
      return shared.isPresent()
          ? shared.get()
          : ValueFormat.finite(Float.intBitsToFloat((int) source.bits(32)));
    }

    @Override
    public void read(BitSource source, float[] into, int count) {
      if (count == 0) {
        return;
      }
      float scale = readScale(source);
      for (int start = 0; start < count; start += WORD) {
        int end = Math.min(count, start + WORD);
        long signs = source.singles(end - start);
        for (int i = start; i < end; i++, signs >>>= 1) {
          into[i] = (signs & 1) != 0 ? -scale : scale;
        }
      }
    }
  }

  /**
   * Magnitude = factor times the mean magnitude of the tensor's kept values. With factor 1 it
   * minimises the squared error on them.
   */
  record Mean(double factor) implements Quantiser {
    @Override
    public Format format() {
      return new Format(Optional.empty());
    }

    @Override
    public void write(BitSink sink, float[] kept, int from, int to) {
      if (from < to) {
        sink.bits(Float.floatToRawIntBits(magnitude(kept, from, to)), 32);
        writeSigns(sink, kept, from, to);
      }
    }

    float magnitude(float[] kept, int from, int to) {
      return representable(factor * meanMagnitude(kept, from, to));
    }
  }

  /** The same given magnitude for all tensors. */
  record Fixed(float magnitude) implements Quantiser {
    @Override
    public Format format() {
      return new Format(Optional.of(magnitude));
    }

    @Override
    public void write(BitSink sink, float[] kept, int from, int to) {
      writeSigns(sink, kept, from, to);
    }
  }

  static void writeSigns(BitSink sink, float[] kept, int from, int to) {
    for (int start = from; start < to; start += WORD) {
      int count = Math.min(WORD, to - start);
      long signs = 0;
      for (int i = 0; i < count; i++) {
        signs |= (kept[start + i] < 0 ? 1L : 0) << i;
      }
      sink.singles(signs, count);
    }
  }

  /** Mean of |v| in double, in index order; 0 for nothing. */
  static double meanMagnitude(float[] values, int from, int to) {
    double sum = 0;
    for (int i = from; i < to; i++) {
      sum += Math.abs(values[i]);
    }
    return from == to ? 0 : sum / (to - from);
  }

  /**
   * Standard deviation with divisor n - 1 about the mean, two passes in double; 0 for n of 0, 1.
   */
  static double sampleDeviation(float[] values) {
    if (values.length < 2) {
      return 0;
    }
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

  /** As a float, kept finite. */
  static float representable(double magnitude) {
    return (float) Math.min(magnitude, Float.MAX_VALUE);
  }
}
