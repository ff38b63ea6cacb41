package org.sparkpeft.merge.method;

/**
 * Second step of TIES: one sign for each entry, +1 or -1, on which the vectors agree by vote. Sums
 * of zero are resolved, so that no entry is left without a sign.
 */
public enum ElectSign {
  /** Sign of the weighted sum of values; zero counts as positive (mergekit). */
  WEIGHTED_MASS {
    @Override
    double vote(float value, double weight) {
      return weight * value;
    }
  },
  /** Sign of the plain sum of values; zero counts as positive (Hugging Face PEFT). */
  MASS {
    @Override
    double vote(float value, double weight) {
      return value;
    }
  },
  /** Sign of the sum of signs: every vector has one vote; zero counts as positive. */
  FREQUENCY {
    @Override
    double vote(float value, double weight) {
      return Math.signum(value);
    }
  },
  /**
   * Sign of the plain sum; a zero takes the sign that most entries elected, and positive if they
   * are balanced (the released TIES code, which takes negative then).
   */
  MASS_OR_MAJORITY {
    @Override
    double vote(float value, double weight) {
      return value;
    }

    @Override
    byte resolve(long balance) {
      return (byte) (balance < 0 ? -1 : 1);
    }
  };

  abstract double vote(float value, double weight);

  /** The sign for sums of zero when positive entries outnumber negative ones by {@code balance}. */
  byte resolve(long balance) {
    return 1;
  }

  /** A sign for each entry of a block. */
  byte[] signs(Block block, double[] weights) {
    byte[] signs = new byte[block.length()];
    long balance = 0;
    for (int i = 0; i < signs.length; i++) {
      double sum = 0;
      for (int t = 0; t < weights.length; t++) {
        sum += vote(block.values(t)[i], weights[t]);
      }
      signs[i] = (byte) Math.signum(sum);
      balance += signs[i];
    }
    byte resolved = resolve(balance);
    for (int i = 0; i < signs.length; i++) {
      if (signs[i] == 0) {
        signs[i] = resolved;
      }
    }
    return signs;
  }
}
