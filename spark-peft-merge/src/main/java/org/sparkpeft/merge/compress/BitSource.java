package org.sparkpeft.merge.compress;

/** Gives back what a {@link BitSink} took. */
interface BitSource {
  /**
   * The next {@code count} bits (0..32) as a non-negative number.
   *
   * @throws org.sparkpeft.core.error.FormatException when the bytes end
   */
  long bits(int count);

  /** The next {@code count} bits (0..32), each a piece of its own, the first lowest. */
  default long singles(int count) {
    long value = 0;
    for (int i = 0; i < count; i++) {
      value |= bits(1) << i;
    }
    return value;
  }

  /** The next symbol, 0..2^bits - 1. */
  default int symbol(SymbolModel model) {
    return (int) bits(model.bits());
  }
}
