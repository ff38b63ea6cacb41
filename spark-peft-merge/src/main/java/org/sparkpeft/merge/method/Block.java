package org.sparkpeft.merge.method;

/**
 * Consecutive entries of one tensor, of all vectors of a merge, with room to work in. Made once and
 * filled again and again, so that merging allocates nothing.
 */
public final class Block {
  /** Entries that fit the caches with everything a merge of a few vectors needs beside them. */
  public static final int USUAL = 4096;

  private final float[][] values;
  private final double[] first;
  private final double[] second;
  private final int[] marks;
  private long from;
  private int length;

  /**
   * @param vectors number of vectors
   * @param capacity most entries
   */
  public Block(int vectors, int capacity) {
    this.values = new float[vectors][capacity];
    this.first = new double[capacity];
    this.second = new double[capacity];
    this.marks = new int[capacity];
  }

  /** Says which entries the arrays hold: {@code [from, from + length)} of the tensor. */
  public Block at(long newFrom, int newLength) {
    this.from = newFrom;
    this.length = newLength;
    return this;
  }

  /** Number of vectors. */
  public int vectors() {
    return values.length;
  }

  /** Most entries. */
  public int capacity() {
    return first.length;
  }

  /** Values of one vector; the first {@link #length} count. May be changed. */
  public float[] values(int vector) {
    return values[vector];
  }

  /** Position of the first entry within the tensor, row-major. */
  public long from() {
    return from;
  }

  /** Number of entries. */
  public int length() {
    return length;
  }

  double[] first() {
    return first;
  }

  double[] second() {
    return second;
  }

  int[] marks() {
    return marks;
  }
}
