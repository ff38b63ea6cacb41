package org.sparkpeft.core.model;

import java.util.List;

/**
 * How rotary frequencies are stretched for sequences longer than those of the first training.
 * Values are rounded to float32 where Hugging Face's are.
 */
sealed interface RotaryScaling {

  /**
   * Angle for each step, one for each pair of entries.
   *
   * @param size entries of a head that turn
   * @param theta base of the frequencies
   * @param length positions in use: the largest one, plus one
   */
  float[] frequencies(int size, double theta, int length);

  /** Factor of sines and cosines. */
  default float attention() {
    return 1;
  }

  /** {@code theta^(2i / size)} for pair i (Su et al. 2021, arXiv 2104.09864). */
  private static float[] periods(int size, double theta) {
    float[] periods = new float[(size + 1) / 2];
    for (int i = 0; i < periods.length; i++) {
      periods[i] = (float) Math.pow(theta, (float) (2 * i) / size);
    }
    return periods;
  }

  /** As trained. */
  record Plain() implements RotaryScaling {
    @Override
    public float[] frequencies(int size, double theta, int length) {
      float[] frequencies = periods(size, theta);
      for (int i = 0; i < frequencies.length; i++) {
        frequencies[i] = 1 / frequencies[i];
      }
      return frequencies;
    }
  }

  /** Position interpolation (Chen et al. 2023, arXiv 2306.15595): all frequencies / factor. */
  record Linear(double factor) implements RotaryScaling {
    @Override
    public float[] frequencies(int size, double theta, int length) {
      float[] frequencies = new Plain().frequencies(size, theta, length);
      for (int i = 0; i < frequencies.length; i++) {
        frequencies[i] /= (float) factor;
      }
      return frequencies;
    }
  }

  /**
   * NTK-aware interpolation that grows with the sequence (described in Peng et al. 2023, arXiv
   * 2309.00071, appendix B.1): {@code theta (factor length / trained - factor + 1)^(size / (size -
   * 2))}.
   *
   * @param trained longest sequence of training
   */
  record Dynamic(double factor, int trained) implements RotaryScaling {
    @Override
    public float[] frequencies(int size, double theta, int length) {
      double stretch = factor * Math.max(length, trained) / trained - (factor - 1);
      double longer = theta * Math.pow(stretch, (double) size / (size - 2));
      return new Plain().frequencies(size, longer, length);
    }
  }

  /**
   * Llama 3.1's: slow frequencies are divided by the factor, fast ones kept, those between blended.
   *
   * @param low wavelengths above {@code trained / low} are slow
   * @param high wavelengths below {@code trained / high} are fast
   * @param trained longest sequence of the first training
   */
  record Llama3(double factor, double low, double high, int trained) implements RotaryScaling {
    @Override
    public float[] frequencies(int size, double theta, int length) {
      float[] frequencies = new Plain().frequencies(size, theta, length);
      for (int i = 0; i < frequencies.length; i++) {
        float plain = frequencies[i];
        double turns = trained * plain / (2 * Math.PI); // in a sequence of the first training
        double kept = Math.min(1, Math.max(0, (turns - low) / (high - low)));
        frequencies[i] = (float) ((1 - kept) * plain / factor + kept * plain);
      }
      return frequencies;
    }
  }

  /**
   * YaRN (Peng et al. 2023, arXiv 2309.00071): interpolation of the pairs that turn rarely, with a
   * ramp in between, and a factor of sines and cosines.
   *
   * @param attention that factor
   * @param fast pairs with more turns than this in {@code trained} positions are kept
   * @param slow pairs with fewer are divided by the factor
   * @param truncate whether the ends of the ramp are rounded outwards
   */
  record Yarn(
      double factor, float attention, double fast, double slow, boolean truncate, int trained)
      implements RotaryScaling {

    @Override
    public float[] frequencies(int size, double theta, int length) {
      double from = pair(fast, size, theta);
      double to = pair(slow, size, theta);
      from = Math.max(truncate ? Math.floor(from) : from, 0);
      to = Math.min(truncate ? Math.ceil(to) : to, size - 1);
      if (from == to) {
        to += 0.001;
      }
      float[] periods = periods(size, theta);
      float[] frequencies = new float[periods.length];
      for (int i = 0; i < frequencies.length; i++) {
        float ramp = (float) Math.min(1, Math.max(0, (i - from) / (to - from)));
        float kept = 1 - ramp;
        float divided = 1 / ((float) factor * periods[i]);
        frequencies[i] = divided * (1 - kept) + 1 / periods[i] * kept;
      }
      return frequencies;
    }

    /** The pair, a fraction, that turns so often in {@code trained} positions. */
    private double pair(double turns, int size, double theta) {
      return size * Math.log(trained / (turns * 2 * Math.PI)) / (2 * Math.log(theta));
    }

    /** The paper's factor for a given stretch, with the weight that DeepSeek gives it. */
    static double attention(double factor, double weight) {
      return factor <= 1 ? 1 : 0.1 * weight * Math.log(factor) + 1;
    }
  }

  /**
   * LongRoPE (Ding et al. 2024, arXiv 2402.13753): a searched divisor for each pair, one set for
   * sequences up to the trained length and one for longer ones.
   *
   * @param attention factor of sines and cosines
   */
  record LongRope(List<Float> shorter, List<Float> longer, float attention, int trained)
      implements RotaryScaling {

    public LongRope {
      shorter = List.copyOf(shorter);
      longer = List.copyOf(longer);
    }

    @Override
    public float[] frequencies(int size, double theta, int length) {
      List<Float> divisors = length > trained ? longer : shorter;
      float[] frequencies = periods(size, theta);
      for (int i = 0; i < frequencies.length; i++) {
        frequencies[i] = 1 / (divisors.get(i) * frequencies[i]);
      }
      return frequencies;
    }
  }
}
