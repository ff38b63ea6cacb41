package org.sparkpeft.merge.compress;

import org.sparkpeft.core.error.FormatException;

/**
 * How a section stores which entries of its tensor are kept. The number is the wire's.
 *
 * <p>Bits for K kept of d: RICE see {@link RiceCode}; GOLOMB see {@link GolombCode}; BITMASK d;
 * TERNARY_DIGITS 1.6 d with the signs included; LIST 32 K; RANGE and RANS, which serve whole bodies
 * and not sections, about the entropy. EMPTY has no entries at all.
 */
enum PositionCoder {
  EMPTY(0),
  RICE(1),
  BITMASK(2),
  TERNARY_DIGITS(3),
  LIST(4),
  RANGE(5),
  GOLOMB(6),
  RANS(7);

  private static final PositionCoder[] BY_ID = values();

  private final int id;

  PositionCoder(int id) {
    this.id = id;
  }

  int id() {
    return id;
  }

  static PositionCoder of(int id, ByteSource source) {
    if (id >= BY_ID.length) {
      throw source.malformed("there is no position coder " + id + "; 0.." + (BY_ID.length - 1));
    }
    return BY_ID[id];
  }

  /** One bit an entry, bit i of byte i / 8. */
  static void writeBitmask(ByteSink sink, int[] positions, int from, int to, int base, int size) {
    int next = from;
    for (int start = 0; start < size; start += 8) {
      int mask = 0;
      while (next < to && positions[next] - base < start + 8) {
        mask |= 1 << (positions[next++] - base - start);
      }
      sink.u8(mask);
    }
  }

  static int[] readBitmask(ByteSource source, int count, int base, int size) {
    int[] positions = new int[count];
    int n = 0;
    byte[] mask = source.raw((size + 7) / 8);
    for (int i = 0; i < mask.length; i++) {
      for (int left = mask[i] & 0xff; left != 0; left &= left - 1) {
        int position = i * 8 + Integer.numberOfTrailingZeros(left);
        if (n == count || position >= size) {
          throw source.malformed(
              "the bitmask has more than " + count + " bits, or one beyond " + size + " entries");
        }
        positions[n++] = base + position;
      }
    }
    if (n < count) {
      throw source.malformed("the bitmask has " + n + " bits, the section says " + count);
    }
    return positions;
  }

  static void writeList(ByteSink sink, int[] positions, int from, int to, int base) {
    for (int i = from; i < to; i++) {
      sink.u32(positions[i] - base);
    }
  }

  static int[] readList(ByteSource source, int count, int base, int size) {
    // Compared as a division so that a huge count is refused before anything is allocated.
    if (count > source.remaining() / 4) {
      throw source.malformed(count + " positions do not fit " + source.remaining() + " bytes");
    }
    int[] positions = new int[count];
    int previous = -1;
    for (int i = 0; i < count; i++) {
      int position = source.u32();
      if (position <= previous || position >= size) {
        throw source.malformed("positions must ascend within 0.." + (size - 1));
      }
      positions[i] = base + position;
      previous = position;
    }
    return positions;
  }

  /** Every entry's bit through an adaptive model that starts fresh. */
  static void writeRange(
      RangeEncoder coder, int[] positions, int from, int to, int base, int size) {
    AdaptiveBit kept = new AdaptiveBit();
    int next = base;
    for (int i = from; i < to; i++) {
      for (; next < positions[i]; next++) {
        kept.encode(coder, false);
      }
      kept.encode(coder, true);
      next++;
    }
    for (; next < base + size; next++) {
      kept.encode(coder, false);
    }
  }

  /** Reads a mask into {@code into[0..)} and returns how many entries are kept. */
  static int readRange(RangeDecoder coder, int[] into, int base, int size) {
    AdaptiveBit kept = new AdaptiveBit();
    int n = 0;
    for (int i = 0; i < size; i++) {
      if (kept.decode(coder)) {
        into[n++] = base + i;
      }
    }
    return n;
  }

  /** Positions and signs together, five entries a byte: sum of (t_j + 1) 3^j, j = 0..4. */
  static void writeDigits(
      ByteSink sink, int[] positions, int from, int to, int base, int size, boolean[] negative) {
    int next = from;
    for (int start = 0; start < size; start += 5) {
      int digits = 0;
      int power = 1;
      for (int j = start; j < Math.min(size, start + 5); j++) {
        int digit = 1;
        if (next < to && positions[next] - base == j) {
          digit = negative[next - from] ? 0 : 2;
          next++;
        }
        digits += digit * power;
        power *= 3;
      }
      sink.u8(digits);
    }
  }

  /** Reads {@code count} positions; {@code negative} gets their signs. */
  static int[] readDigits(ByteSource source, int count, int base, int size, boolean[] negative) {
    byte[] packed = source.raw((size + 4) / 5);
    int[] positions = new int[count];
    int n = 0;
    for (int i = 0; i < packed.length; i++) {
      int left = packed[i] & 0xff;
      for (int j = i * 5; j < Math.min(size, i * 5 + 5); j++) {
        int digit = left % 3 - 1;
        left /= 3;
        if (digit != 0) {
          if (n == count) {
            throw source.malformed("more than the " + count + " entries the section declares");
          }
          negative[n] = digit < 0;
          positions[n++] = base + j;
        }
      }
      if (left != 0) {
        throw source.malformed("a byte of ternary digits is above what its entries can give");
      }
    }
    if (n < count) {
      throw source.malformed(n + " non-zero digits, the section says " + count);
    }
    return positions;
  }

  /** A refusal for coders that a place cannot use. */
  FormatException unusable(ByteSource source) {
    return source.malformed("position coder " + this + " cannot be used here");
  }
}
