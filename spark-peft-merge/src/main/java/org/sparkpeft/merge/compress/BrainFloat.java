package org.sparkpeft.merge.compress;

/** 16 bits a value: bfloat16, the upper half of a float, rounded to nearest even. */
final class BrainFloat implements Quantiser, ValueFormat {
  static final int ID = 3;

  /** Largest finite bfloat16; larger floats are cut to it. */
  private static final int MAX = 0x7f7f;

  @Override
  public ValueFormat format() {
    return this;
  }

  @Override
  public int id() {
    return ID;
  }

  @Override
  public long bits(int count) {
    return 16L * count;
  }

  @Override
  public void write(BitSink sink, float[] kept, int from, int to) {
    for (int i = from; i < to; i++) {
      int bits = Half.toBrainBits(kept[i]);
      sink.bits((bits & 0x7fff) > MAX ? (bits & 0x8000) | MAX : bits, 16);
    }
  }

  @Override
  public void read(BitSource source, float[] into, int count) {
    for (int i = 0; i < count; i++) {
      into[i] = ValueFormat.finite(Half.fromBrainBits((int) source.bits(16)));
    }
  }
}
