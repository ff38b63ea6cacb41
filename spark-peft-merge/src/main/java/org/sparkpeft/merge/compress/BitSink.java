package org.sparkpeft.merge.compress;

/** Takes the bits of scales, signs and quantised values. */
interface BitSink {
  /** Appends the low {@code count} bits of {@code value}, unmodelled; {@code count} is 0..32. */
  void bits(long value, int count);

  /** Appends a symbol of the model's width, in fewer bits where the sink can use the model. */
  default void symbol(SymbolModel model, int symbol) {
    bits(symbol, model.bits());
  }
}
