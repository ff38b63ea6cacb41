package org.sparkpeft.core.train;

/** Some tokens of every example of a batch: one to before another. */
record Span(int from, int to) {

  /** What belongs to these tokens, out of {@code width} values for each example. */
  long[] of(long[] values, int width) {
    int length = to - from;
    long[] some = new long[values.length / width * length];
    for (int at = 0; at < some.length; at += length) {
      System.arraycopy(values, at / length * width + from, some, at, length);
    }
    return some;
  }
}
