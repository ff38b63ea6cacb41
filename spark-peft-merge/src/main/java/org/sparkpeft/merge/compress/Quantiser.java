package org.sparkpeft.merge.compress;

/** The second step of a codec: kept values as bits, with whatever scales they need. */
interface Quantiser {
  ValueFormat format();

  /** Whether it writes symbols that a range coder shortens. */
  default boolean isModelled() {
    return false;
  }

  /**
   * Quantises and writes {@code kept[from..to)}, the kept values of one tensor.
   *
   * @param kept the kept values of the whole vector; an entry's index here is also its position in
   *     the stream of random numbers
   */
  void write(BitSink sink, float[] kept, int from, int to);
}
