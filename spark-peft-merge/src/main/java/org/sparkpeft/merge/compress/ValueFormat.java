package org.sparkpeft.merge.compress;

/** How values look on the wire; all a decoder needs to know of a {@link Quantiser}. */
interface ValueFormat {
  /** The codec id of a payload's header. */
  int id();

  /** Exact number of bits that {@code count} values of one tensor take. */
  long bits(int count);

  /** Reads {@code count} values of one tensor; all are finite. */
  void read(BitSource source, float[] into, int count);

  /** Names what is wrong with bits that give no finite number. */
  static float finite(float value) {
    if (!Float.isFinite(value)) {
      throw new org.sparkpeft.core.error.FormatException(
          "payload", "a value or scale must be finite, got " + value);
    }
    return value;
  }
}
