package org.sparkpeft.merge.method;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.IntBuffer;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;
import org.sparkpeft.core.vector.FiniteCheck;

/**
 * Consecutive entries of one tensor, of all vectors of a merge, with room to work in. Made once and
 * filled again and again, so that merging allocates nothing.
 */
public final class Block {
  /** Entries that fit the caches with everything a merge of a few vectors needs beside them. */
  public static final int USUAL = 4096;

  private final float[][] values;
  private float[][] evidence = {};
  private final double[] first;
  private final double[] wide;
  private final int[] signs;
  private final int[] bits;
  private final FloatBuffer asFloats;
  private final IntBuffer asInts;
  private final int[] marks;
  private final int[] listed;
  private final float[] largest;
  private final float[] second;
  private final int[] kept;
  private int keptVectors;
  private long from;
  private int length;

  /**
   * @param vectors number of vectors
   * @param capacity most entries
   */
  public Block(int vectors, int capacity) {
    this.values = new float[vectors][capacity];
    this.first = new double[capacity];
    this.wide = new double[capacity];
    this.signs = new int[capacity];
    this.bits = new int[capacity];
    ByteBuffer direct = ByteBuffer.allocateDirect(4 * capacity).order(ByteOrder.nativeOrder());
    this.asFloats = direct.asFloatBuffer();
    this.asInts = direct.asIntBuffer();
    this.marks = new int[capacity];
    this.listed = new int[capacity];
    this.largest = new float[capacity];
    this.second = new float[capacity + 1];
    this.kept = new int[capacity];
  }

  /** Says which entries the arrays hold: {@code [from, from + length)} of the tensor. */
  public Block at(long newFrom, int newLength) {
    this.from = newFrom;
    this.length = newLength;
    this.keptVectors = 0;
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

  /** Makes room for what {@link #evidence} gives. */
  public void makeRoomForEvidence() {
    evidence = new float[values.length][first.length];
  }

  /** Numbers that came with a vector's entries, where a method weighs those. */
  public float[] evidence(int vector) {
    return evidence[vector];
  }

  /** Position of the first entry within the tensor, row-major. */
  public long from() {
    return from;
  }

  /** Number of entries. */
  public int length() {
    return length;
  }

  /**
   * Index of the first vector with a value that is NaN or infinite, or -1. One sum of zeros serves
   * all vectors, since NaN stays in it.
   */
  public int firstNotFinite() {
    Arrays.fill(largest, 0, length, 0);
    for (float[] vector : values) {
      addZeros(vector, largest, length);
    }
    if (FiniteCheck.allFinite(largest, length, 1, second)) {
      return -1;
    }
    int at = 0;
    while (FiniteCheck.firstBad(values[at], length, second) < 0) {
      at++;
    }
    return at;
  }

  private static void addZeros(float[] vector, float[] sums, int n) {
    for (int i = 0; i < n; i++) {
      sums[i] += vector[i] * 0;
    }
  }

  double[] first() {
    return first;
  }

  double[] wide() {
    return wide;
  }

  int[] signs() {
    return signs;
  }

  /**
   * The bits of a vector's values, to be changed and given back by {@link #fromBits}. Two copies
   * within the cache take less time than a conversion for each value, which compilers do one by
   * one.
   */
  int[] toBits(int vector) {
    asFloats.put(0, values[vector], 0, length);
    asInts.get(0, bits, 0, length);
    return bits;
  }

  /** Takes what {@link #toBits} gave for the vector's values. */
  void fromBits(int vector) {
    asInts.put(0, bits, 0, length);
    asFloats.get(0, values[vector], 0, length);
  }

  /** For a step that adds 1 where it keeps an entry of its vector, and leaves zeros elsewhere. */
  int[] countsOfKept() {
    if (keptVectors == 0) {
      Arrays.fill(kept, 0, length, 0);
    }
    keptVectors++;
    return kept;
  }

  /** How many vectors have each entry, the others zeros there; null if not all steps counted. */
  int @Nullable [] kept() {
    return keptVectors == values.length ? kept : null;
  }

  int[] marks() {
    return marks;
  }

  int[] listed() {
    return listed;
  }

  float[] largest() {
    return largest;
  }

  float[] second() {
    return second;
  }
}
