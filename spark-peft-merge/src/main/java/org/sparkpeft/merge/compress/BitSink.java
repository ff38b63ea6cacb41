package org.sparkpeft.merge.compress;

/** Takes the bits of scales, signs and quantised values. */
interface BitSink {
  /** Appends the low {@code count} bits of {@code value}, unmodelled; {@code count} is 0..32. */
  void bits(long value, int count);

  /**
   * Appends the low {@code count} bits of {@code value}, lowest first, each as a piece of its own.
   */
  default void singles(long value, int count) {
    for (int i = 0; i < count; i++) {
      bits(value >>> i & 1, 1);
    }
  }

  /** Appends a symbol of the model's width, in fewer bits where the sink can use the model. */
  default void symbol(SymbolModel model, int symbol) {
    bits(symbol, model.bits());
  }
}
