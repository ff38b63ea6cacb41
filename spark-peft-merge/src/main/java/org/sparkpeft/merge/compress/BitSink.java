package org.sparkpeft.merge.compress;

/** Takes bits that are not worth modelling: signs, scales, quantised values. */
interface BitSink {
  /** Appends the low {@code count} bits of {@code value}; {@code count} is 0..32. */
  void bits(long value, int count);
}
