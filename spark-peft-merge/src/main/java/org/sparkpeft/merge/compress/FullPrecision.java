package org.sparkpeft.merge.compress;

/** 32 bits a value, unchanged: the bits of the float. */
record FullPrecision() implements Quantiser, ValueFormat {
  static final int ID = 1;

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
    return 32L * count;
  }

  @Override
  public void write(BitSink sink, float[] kept, int from, int to) {
    for (int i = from; i < to; i++) {
      sink.bits(Float.floatToRawIntBits(kept[i]), 32);
    }
  }

  @Override
  public void read(BitSource source, float[] into, int count) {
    for (int i = 0; i < count; i++) {
      into[i] = ValueFormat.finite(Float.intBitsToFloat((int) source.bits(32)));
    }
  }
}
