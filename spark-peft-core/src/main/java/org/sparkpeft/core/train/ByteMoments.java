package org.sparkpeft.core.train;

import org.sparkpeft.core.vector.DynamicMap;

/**
 * Moments in 8 bits: blocks of 256 entries share a scale, their largest magnitude, and each entry
 * has a code of the dynamic data type (Dettmers et al. 2021, arXiv 2110.02861).
 */
final class ByteMoments {
  static final int BLOCK = 256;

  private final byte[] codes;
  private final float[] scales;
  private final float[] table;

  /**
   * @param signed whether values below zero occur
   */
  ByteMoments(int size, boolean signed) {
    this.codes = new byte[size];
    this.scales = new float[blocks(size)];
    this.table = signed ? DynamicMap.table() : DynamicMap.unsignedTable();
  }

  static int blocks(int size) {
    return (size + BLOCK - 1) / BLOCK;
  }

  /** Values of a block's entries. */
  void read(int block, float[] into) {
    int from = block * BLOCK;
    int n = Math.min(BLOCK, codes.length - from);
    float scale = scales[block];
    for (int i = 0; i < n; i++) {
      // Scale 0 is a block never written: codes mean nothing.
      into[i] = scale == 0 ? 0 : scale * table[codes[from + i] & 0xff];
    }
  }

  /** Takes new values of a block's entries. */
  void write(int block, float[] values) {
    int from = block * BLOCK;
    int n = Math.min(BLOCK, codes.length - from);
    float scale = 0;
    for (int i = 0; i < n; i++) {
      scale = Math.max(scale, Math.abs(values[i]));
    }
    scales[block] = scale;
    for (int i = 0; i < n; i++) {
      codes[from + i] = scale == 0 ? 0 : (byte) DynamicMap.code(values[i] / scale, table);
    }
  }
}
