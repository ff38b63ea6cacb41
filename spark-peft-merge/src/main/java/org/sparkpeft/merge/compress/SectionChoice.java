package org.sparkpeft.merge.compress;

import org.sparkpeft.core.vector.ParameterLayout;

/**
 * How one section is coded.
 *
 * @param coder how positions are stored
 * @param parameter Rice parameter, 0 for other coders
 * @param bytes exact length of the section, tag and count included
 */
record SectionChoice(PositionCoder coder, int parameter, long bytes) {

  /** The shortest; of equals the first of Rice, bitmask, ternary digits, list. */
  static SectionChoice best(
      Sparse kept, int from, int to, ParameterLayout.Entry entry, ValueFormat format) {
    int count = to - from;
    if (count == 0) {
      return new SectionChoice(PositionCoder.EMPTY, 0, 1);
    }
    int[] positions = kept.positions();
    int b = RiceCode.bestParameter(positions, from, to, entry.offset(), entry.size());
    long prefix = 1L + varintBytes(count);
    long values = (format.bits(count) + 7) / 8;
    long rice = (RiceCode.bits(positions, from, to, entry.offset(), b) + 7) / 8;
    SectionChoice best =
        new SectionChoice(PositionCoder.RICE, b, prefix + rice + values)
            .or(PositionCoder.BITMASK, prefix + (entry.size() + 7L) / 8 + values);
    if (format instanceof Ternary.Format ternary) {
      long digits = ternary.scaleBits() / 8 + (entry.size() + 4L) / 5;
      best = best.or(PositionCoder.TERNARY_DIGITS, prefix + digits);
    }
    return best.or(PositionCoder.LIST, prefix + 4L * count + values);
  }

  private SectionChoice or(PositionCoder other, long otherBytes) {
    return otherBytes < bytes ? new SectionChoice(other, 0, otherBytes) : this;
  }

  private static int varintBytes(int value) {
    return (38 - Integer.numberOfLeadingZeros(value | 1)) / 7;
  }
}
