package org.sparkpeft.merge.compress;

import java.util.Arrays;
import org.sparkpeft.core.error.FormatException;

/**
 * A ternary vector on its own: d entries, K of them plus or minus one scale. It has a
 * self-contained byte form for files (see {@link TernaryFile}); inside payloads a more compact form
 * is used.
 *
 * <p>Bytes: u8 coder (0 empty, 1 Rice, 2 two bitmasks, 3 ternary digits, 4 u32 list, 5 range), u8
 * Rice parameter (else 0), varint d, varint K, f32 scale, then by coder:
 *
 * <ul>
 *   <li>Rice: varint byte length of the gaps, gaps, signs
 *   <li>two bitmasks: ceil(d / 8) bytes of positive entries, as many of negative ones
 *   <li>ternary digits: ceil(d / 5) bytes, each the sum of (t_j + 1) 3^j over its entries
 *   <li>list: K u32 positions, signs
 *   <li>range: varint byte length, the range-coded mask, signs
 * </ul>
 *
 * Signs are ceil(K / 8) bytes, bit j set when the j-th kept entry is negative. All numbers are
 * little-endian, bits LSB-first.
 */
public final class TernarySection {
  private static final String SOURCE = "ternary section";

  private final int size;
  private final int[] positions;
  private final boolean[] negative;
  private final float scale;

  private TernarySection(int size, int[] positions, boolean[] negative, float scale) {
    this.size = size;
    this.positions = positions;
    this.negative = negative;
    this.scale = scale;
  }

  /**
   * A section of given entries.
   *
   * @param size number of entries d, at least 1
   * @param positions ascending positions in 0..d-1; copied
   * @param negative sign of each; copied
   * @param scale finite magnitude
   */
  public static TernarySection of(int size, int[] positions, boolean[] negative, float scale) {
    if (size < 1 || positions.length != negative.length || !Float.isFinite(scale)) {
      throw new IllegalArgumentException(
          "needs at least one entry, a sign for each position and a finite scale; got size "
              + size
              + ", "
              + positions.length
              + " positions, "
              + negative.length
              + " signs, scale "
              + scale);
    }
    int previous = -1;
    for (int position : positions) {
      if (position <= previous || position >= size) {
        throw new IllegalArgumentException(
            "positions must ascend within 0.." + (size - 1) + ", got " + position);
      }
      previous = position;
    }
    return new TernarySection(size, positions.clone(), negative.clone(), scale);
  }

  public int size() {
    return size;
  }

  /** Number of kept entries K. */
  public int count() {
    return positions.length;
  }

  public float scale() {
    return scale;
  }

  /** Position of the i-th kept entry. */
  public int position(int i) {
    return positions[i];
  }

  /** Whether the i-th kept entry is negative. */
  public boolean isNegative(int i) {
    return negative[i];
  }

  public float[] toDense() {
    float[] dense = new float[size];
    for (int i = 0; i < positions.length; i++) {
      dense[positions[i]] = negative[i] ? -scale : scale;
    }
    return dense;
  }

  /** The shortest byte form. */
  public byte[] encode() {
    byte[] best = encode(PositionCoder.EMPTY);
    if (positions.length > 0) {
      best = encode(PositionCoder.RICE);
      for (PositionCoder coder : PositionCoder.values()) {
        if (coder != PositionCoder.EMPTY
            && coder != PositionCoder.GOLOMB
            && coder != PositionCoder.RANS) {
          byte[] other = encode(coder);
          best = other.length < best.length ? other : best;
        }
      }
    }
    return best;
  }

  /** The byte form of one coder; EMPTY only for K = 0. */
  byte[] encode(PositionCoder coder) {
    int count = positions.length;
    int b = coder == PositionCoder.RICE ? RiceCode.bestParameter(positions, 0, count, 0, size) : 0;
    ByteSink sink = new ByteSink(32 + count);
    sink.u8(coder.id());
    sink.u8(b);
    sink.varint(size);
    sink.varint(count);
    sink.f32(scale);
    switch (coder) {
      case EMPTY -> {}
      case RICE -> {
        sink.varint((RiceCode.bits(positions, 0, count, 0, b) + 7) / 8);
        RiceCode.write(sink, positions, 0, count, 0, b);
        sink.align();
        writeSigns(sink);
      }
      case BITMASK -> {
        writeMask(sink, false);
        writeMask(sink, true);
      }
      case TERNARY_DIGITS ->
          PositionCoder.writeDigits(sink, positions, 0, count, 0, size, negative);
      case LIST -> {
        PositionCoder.writeList(sink, positions, 0, count, 0);
        writeSigns(sink);
      }
      case GOLOMB, RANS ->
          throw new IllegalArgumentException(coder + " is a coder of payloads only");
      case RANGE -> {
        RangeEncoder encoder = new RangeEncoder(16 + count);
        PositionCoder.writeRange(encoder, positions, 0, count, 0, size);
        byte[] mask = encoder.finish();
        sink.varint(mask.length);
        sink.raw(mask);
        writeSigns(sink);
      }
    }
    return sink.toArray();
  }

  private void writeSigns(ByteSink sink) {
    for (boolean sign : negative) {
      sink.bits(sign ? 1 : 0, 1);
    }
    sink.align();
  }

  private void writeMask(ByteSink sink, boolean sign) {
    int[] chosen = new int[positions.length];
    int n = 0;
    for (int i = 0; i < positions.length; i++) {
      if (negative[i] == sign) {
        chosen[n++] = positions[i];
      }
    }
    PositionCoder.writeBitmask(sink, chosen, 0, n, 0, size);
  }

  /**
   * Decodes one section that takes all of {@code bytes}.
   *
   * @param maxSize largest d allowed; nothing larger is ever allocated
   * @throws FormatException if the bytes are not such a section
   */
  public static TernarySection decode(byte[] bytes, int maxSize) {
    ByteSource source = new ByteSource(SOURCE, bytes, 0, bytes.length);
    TernarySection section = read(source, maxSize);
    source.requireEnd();
    return section;
  }

  static TernarySection read(ByteSource source, int maxSize) {
    PositionCoder coder = PositionCoder.of(source.u8(), source);
    int b = source.u8();
    if (b > RiceCode.MAX_PARAMETER) {
      throw source.malformed("the Rice parameter must be 0..31, got " + b);
    }
    int size = source.varint("size", maxSize);
    int count = source.varint("number of kept entries", size);
    float scale = source.f32("the scale");
    if (size == 0 || (coder == PositionCoder.EMPTY) != (count == 0)) {
      throw source.malformed(
          "coder " + coder + " does not go with " + count + " of " + size + " entries");
    }
    if (coder == PositionCoder.BITMASK) {
      return readTwoMasks(source, size, count, scale);
    }
    boolean[] negative = new boolean[count];
    int[] positions =
        switch (coder) {
          case EMPTY -> new int[0];
          case RICE -> {
            ByteSource gaps = source.part(source.varint("gap bytes", source.remaining()));
            int[] read = RiceCode.read(gaps, count, 0, size, b);
            gaps.align();
            gaps.requireEnd();
            yield read;
          }
          case TERNARY_DIGITS -> PositionCoder.readDigits(source, count, 0, size, negative);
          case LIST -> PositionCoder.readList(source, count, 0, size);
          case RANGE -> readRange(source, size, count);
          case GOLOMB, RANS, BITMASK -> throw coder.unusable(source);
        };
    if (coder != PositionCoder.TERNARY_DIGITS) {
      for (int i = 0; i < count; i++) {
        negative[i] = source.bits(1) != 0;
      }
      source.align();
    }
    return new TernarySection(size, positions, negative, scale);
  }

  private static int[] readRange(ByteSource source, int size, int count) {
    byte[] mask = source.raw(source.varint("mask bytes", source.remaining()));
    RangeDecoder decoder = new RangeDecoder(SOURCE, mask, 0, mask.length);
    int[] positions = new int[size];
    int n = PositionCoder.readRange(decoder, positions, 0, size);
    decoder.finish();
    if (n != count) {
      throw source.malformed("the mask keeps " + n + " entries, the section says " + count);
    }
    return Arrays.copyOf(positions, n);
  }

  private static TernarySection readTwoMasks(ByteSource source, int size, int count, float scale) {
    int bytes = (size + 7) / 8;
    byte[] masks = source.raw(2 * bytes);
    int[] positions = new int[count];
    boolean[] negative = new boolean[count];
    int n = 0;
    for (int i = 0; i < bytes; i++) {
      int plus = masks[i] & 0xff;
      int minus = masks[bytes + i] & 0xff;
      if ((plus & minus) != 0) {
        throw source.malformed("an entry is both positive and negative");
      }
      for (int left = plus | minus; left != 0; left &= left - 1) {
        int bit = Integer.numberOfTrailingZeros(left);
        int position = i * 8 + bit;
        if (n == count || position >= size) {
          throw source.malformed("the bitmasks have more entries than the section says");
        }
        negative[n] = (minus >>> bit & 1) != 0;
        positions[n++] = position;
      }
    }
    if (n < count) {
      throw source.malformed("the bitmasks have " + n + " entries, the section says " + count);
    }
    return new TernarySection(size, positions, negative, scale);
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof TernarySection that
        && size == that.size
        && Float.floatToRawIntBits(scale) == Float.floatToRawIntBits(that.scale)
        && Arrays.equals(positions, that.positions)
        && Arrays.equals(negative, that.negative);
  }

  @Override
  public int hashCode() {
    return 31 * size + Arrays.hashCode(positions);
  }

  @Override
  public String toString() {
    return "TernarySection[" + positions.length + " of " + size + " entries, scale " + scale + "]";
  }
}
