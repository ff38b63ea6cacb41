package org.sparkpeft.core.vector;

import java.util.Arrays;
import java.util.Optional;

/**
 * Numbers in 4-bit NormalFloat with one scale a block (QLoRA, Dettmers et al. 2023, arXiv
 * 2305.14314), in the layout of bitsandbytes. Blocks of the row-major numbers are divided by their
 * largest magnitude and rounded to the nearest of 16 values; a tie goes to the lower. Two codes
 * make a byte, the first in the high half; an odd count ends with the code of zero. With double
 * quantisation the scales less their mean are 8-bit {@link DynamicMap} codes in blocks of 256.
 * Immutable.
 */
public final class Nf4 {
  /** Numbers for one scale, where nothing else is said. */
  public static final int BLOCK = 64;

  /** Scales for one scale of the scales. */
  public static final int NESTED_BLOCK = 256;

  private static final float LEAST = 1e-38f;
  private static final float[] TABLE = {
    -1,
    -0.6961928f,
    -0.52507305f,
    -0.3949175f,
    -0.28444138f,
    -0.18477343f,
    -0.091050036f,
    0,
    0.0795803f,
    0.1609302f,
    0.2461123f,
    0.33791524f,
    0.44070983f,
    0.562617f,
    0.72295684f,
    1
  };

  /**
   * Scales in 8 bits: {@code table[codes[i]] scales[i / 256] + offset}.
   *
   * @param codes one byte a scale
   * @param scales one for each 256 of them
   * @param offset their mean
   */
  @SuppressWarnings("ArrayRecordComponent") // Never compared.
  public record Nested(byte[] codes, float[] scales, float offset) {
    float[] scalesOf() {
      float[] values = new float[codes.length];
      for (int i = 0; i < values.length; i++) {
        values[i] = MAP[codes[i] & 0xFF] * scales[i / NESTED_BLOCK] + offset;
      }
      return values;
    }
  }

  private static final float[] MAP = DynamicMap.table();

  private final int count;
  private final int block;
  private final byte[] packed;
  private final float[] scales;
  private final Optional<Nested> nested;

  private Nf4(int count, int block, byte[] packed, float[] scales, Optional<Nested> nested) {
    requireBlock(block);
    if (packed.length != (count + 1) / 2 || scales.length != blocks(count, block)) {
      throw new IllegalArgumentException(
          count
              + " numbers in blocks of "
              + block
              + " take "
              + (count + 1) / 2
              + " bytes and "
              + blocks(count, block)
              + " scales, got "
              + packed.length
              + " and "
              + scales.length);
    }
    this.count = count;
    this.block = block;
    this.packed = packed;
    this.scales = scales;
    this.nested = nested;
  }

  /** The 16 values, ascending. */
  public static float[] table() {
    return TABLE.clone();
  }

  /** Whether bitsandbytes knows blocks of this size: powers of 2 from 32 to 4096. */
  public static boolean isBlock(int block) {
    return block >= 32 && block <= 4096 && Integer.bitCount(block) == 1;
  }

  private static void requireBlock(int block) {
    if (!isBlock(block)) {
      throw new IllegalArgumentException("a block must be a power of 2 in 32..4096, got " + block);
    }
  }

  private static int blocks(int count, int block) {
    return (count + block - 1) / block;
  }

  /** Quantised numbers with float32 scales. */
  public static Nf4 quantise(float[] values, int block) {
    requireBlock(block);
    float[] scales = new float[blocks(values.length, block)];
    byte[] packed = new byte[(values.length + 1) / 2];
    Arrays.fill(packed, (byte) 0x77);
    for (int b = 0; b < scales.length; b++) {
      int from = b * block;
      int to = Math.min(values.length, from + block);
      float most = largest(values, from, to);
      boolean whole = to - from == block;
      scales[b] = whole ? most : Math.max(most, LEAST);
      float inverse = 1 / Math.max(most, LEAST);
      for (int i = from; i < to; i++) { // multiplied or divided as the reference does
        float scaled = whole ? values[i] * inverse : values[i] / scales[b];
        int code = DynamicMap.code(Math.max(-1, Math.min(1, scaled)), TABLE);
        int shift = (i & 1) == 0 ? 4 : 0;
        packed[i / 2] = (byte) ((packed[i / 2] & ~(0xF << shift)) | (code << shift));
      }
    }
    return new Nf4(values.length, block, packed, scales, Optional.empty());
  }

  /** The same with its scales in 8 bits. */
  public Nf4 nested() {
    double sum = 0;
    for (float scale : scales) {
      sum += scale;
    }
    float offset = scales.length == 0 ? 0 : (float) (sum / scales.length);
    byte[] codes = new byte[scales.length];
    float[] outer = new float[blocks(scales.length, NESTED_BLOCK)];
    for (int b = 0; b < outer.length; b++) {
      int from = b * NESTED_BLOCK;
      int to = Math.min(scales.length, from + NESTED_BLOCK);
      for (int i = from; i < to; i++) {
        outer[b] = Math.max(outer[b], Math.abs(scales[i] - offset));
      }
      for (int i = from; i < to; i++) {
        float scaled = (scales[i] - offset) / Math.max(outer[b], LEAST);
        codes[i] = (byte) DynamicMap.code(Math.max(-1, Math.min(1, scaled)), MAP);
      }
    }
    return of(count, block, packed, new Nested(codes, outer, offset));
  }

  private static float largest(float[] values, int from, int to) {
    float most = 0;
    for (int i = from; i < to; i++) {
      most = Math.max(most, Math.abs(values[i]));
    }
    return most;
  }

  /**
   * What was stored.
   *
   * @param count numbers
   * @param packed {@code (count + 1) / 2} bytes
   * @param scales one a block
   */
  public static Nf4 of(int count, int block, byte[] packed, float[] scales) {
    return new Nf4(count, block, packed, scales, Optional.empty());
  }

  /** What was stored with double quantisation. */
  public static Nf4 of(int count, int block, byte[] packed, Nested nested) {
    if (nested.scales().length != blocks(nested.codes().length, NESTED_BLOCK)) {
      throw new IllegalArgumentException(
          nested.codes().length
              + " scales in 8 bits take "
              + blocks(nested.codes().length, NESTED_BLOCK)
              + " scales of their own, got "
              + nested.scales().length);
    }
    return new Nf4(count, block, packed, nested.scalesOf(), Optional.of(nested));
  }

  public int count() {
    return count;
  }

  public int block() {
    return block;
  }

  /** Two codes a byte. */
  public byte[] packed() {
    return packed.clone();
  }

  /** One a block, as they are used. */
  public float[] scales() {
    return scales.clone();
  }

  /** How the scales are stored, where that is in 8 bits. */
  public Optional<Nested> storedScales() {
    return nested;
  }

  /** Code of one number, 0..15. */
  public int code(int index) {
    return (packed[index / 2] >>> ((index & 1) == 0 ? 4 : 0)) & 0xF;
  }

  public float[] dequantise() {
    float[] values = new float[count];
    for (int i = 0; i < count; i++) {
      values[i] = TABLE[code(i)] * scales[i / block];
    }
    return values;
  }
}
