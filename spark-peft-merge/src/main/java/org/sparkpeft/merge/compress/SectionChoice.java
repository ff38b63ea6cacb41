package org.sparkpeft.merge.compress;

import java.util.List;
import java.util.Optional;
import org.sparkpeft.core.vector.ParameterLayout;

/**
 * How one section is coded.
 *
 * @param coder how positions are stored
 * @param parameter Rice parameter or Golomb divisor, 0 for other coders
 * @param bytes exact length of the section, tag and count included
 */
record SectionChoice(PositionCoder coder, int parameter, long bytes) {
  private static final List<PositionCoder> ALL =
      List.of(
          PositionCoder.RICE,
          PositionCoder.BITMASK,
          PositionCoder.TERNARY_DIGITS,
          PositionCoder.LIST,
          PositionCoder.GOLOMB);

  /**
   * Above this, masks by rANS are shorter than Golomb's gaps in all but small tensors, and working
   * out a divisor takes as long as the rest.
   */
  private static final double MOST_GOLOMB = 0.03;

  /** Entries from which a tensor is not small. */
  private static final int MANY_ENTRIES = 1 << 9;

  /** Largest parameter in the tag's five bits. */
  private static final int MAX_IN_TAG = 31;

  /** The parameter as far as the tag has room; a Golomb divisor above 31 follows it instead. */
  int tagParameter() {
    return parameter <= MAX_IN_TAG ? parameter : 0;
  }

  /**
   * The shortest way; of equals the first of Rice, bitmask, ternary digits, list, Golomb.
   *
   * @param only the coder to use if it can code these values; otherwise Rice is
   */
  static SectionChoice best(
      Sparse kept,
      int from,
      int to,
      ParameterLayout.Entry entry,
      ValueFormat format,
      Optional<PositionCoder> only) {
    if (from == to) {
      return new SectionChoice(PositionCoder.EMPTY, 0, 1);
    }
    if (only.isPresent()) {
      boolean usable = only.get() != PositionCoder.TERNARY_DIGITS || isTernary(format);
      PositionCoder coder = usable ? only.get() : PositionCoder.RICE;
      return with(coder, kept, from, to, entry, format);
    }
    SectionChoice best = with(PositionCoder.RICE, kept, from, to, entry, format);
    for (PositionCoder coder : ALL) {
      if (isWorthTrying(coder, (double) (to - from) / entry.size(), entry, format)) {
        SectionChoice other = with(coder, kept, from, to, entry, format);
        best = other.bytes < best.bytes ? other : best;
      }
    }
    return best;
  }

  private static boolean isWorthTrying(
      PositionCoder coder, double density, ParameterLayout.Entry entry, ValueFormat format) {
    return switch (coder) {
      case TERNARY_DIGITS -> isTernary(format);
      case GOLOMB -> density <= MOST_GOLOMB || entry.size() < MANY_ENTRIES;
      default -> true;
    };
  }

  private static boolean isTernary(ValueFormat format) {
    return format instanceof Ternary.Format;
  }

  private static SectionChoice with(
      PositionCoder coder,
      Sparse kept,
      int from,
      int to,
      ParameterLayout.Entry entry,
      ValueFormat format) {
    int[] positions = kept.positions();
    int base = entry.offset();
    int size = entry.size();
    int count = to - from;
    long prefix = 1L + ByteSink.varintBytes(count);
    long values = bytes(format.bits(count));
    return switch (coder) {
      case RICE -> {
        int b = RiceCode.bestParameter(positions, from, to, base, size);
        long gaps = bytes(RiceCode.bits(positions, from, to, base, b));
        yield new SectionChoice(coder, b, prefix + gaps + values);
      }
      case GOLOMB -> {
        int divisor = GolombCode.bestDivisor(positions, from, to, base, size);
        long gaps = bytes(GolombCode.bits(positions, from, to, base, divisor));
        yield new SectionChoice(
            coder,
            divisor,
            prefix + (divisor > MAX_IN_TAG ? ByteSink.varintBytes(divisor) : 0) + gaps + values);
      }
      case BITMASK -> new SectionChoice(coder, 0, prefix + (size + 7L) / 8 + values);
      case LIST -> new SectionChoice(coder, 0, prefix + 4L * count + values);
      case TERNARY_DIGITS -> {
        long scale = ((Ternary.Format) format).scaleBits() / 8;
        yield new SectionChoice(coder, 0, prefix + scale + (size + 4L) / 5);
      }
      case EMPTY, RANGE, RANS ->
          throw new IllegalArgumentException(coder + " is no section's coder");
    };
  }

  private static long bytes(long bits) {
    return (bits + 7) / 8;
  }
}
