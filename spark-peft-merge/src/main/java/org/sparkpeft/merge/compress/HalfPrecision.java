package org.sparkpeft.merge.compress;

/** 16 bits a value: binary16 with a {@link SharedExponent}, which comes first. */
record HalfPrecision() implements Quantiser, ValueFormat {
  static final int ID = 2;

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
    return count == 0 ? 0 : 8 + 16L * count;
  }

  @Override
  public void write(BitSink sink, float[] kept, int from, int to) {
    if (from == to) {
      return;
    }
    int exponent = SharedExponent.of(SharedExponent.max(kept, from, to));
    SharedExponent.write(sink, exponent);
    for (int i = from; i < to; i++) {
      sink.bits(SharedExponent.encode(kept[i], exponent), 16);
    }
  }

  @Override
  public void read(BitSource source, float[] into, int count) {
    if (count == 0) {
      return;
    }
    int exponent = SharedExponent.read(source);
    for (int i = 0; i < count; i++) {
      into[i] = SharedExponent.decode((int) source.bits(16), exponent);
    }
  }
}
