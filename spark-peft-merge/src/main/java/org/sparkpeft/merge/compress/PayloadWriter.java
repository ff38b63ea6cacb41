package org.sparkpeft.merge.compress;

import java.util.List;
import java.util.Optional;
import org.sparkpeft.core.vector.ParameterLayout;

/** Puts one update's values into a payload; the counterpart of {@link Payload#decode}. */
final class PayloadWriter {
  /** Entries from which speed counts for more than the last percent: some milliseconds of it. */
  private static final int LARGE = 1 << 20;

  private static final double MOST_LONGER = 1.01;

  private final PayloadHeader header;
  private final ParameterLayout layout;
  private final Quantiser quantiser;

  /**
   * @param quantiser for this payload alone: it may learn as it writes
   */
  PayloadWriter(PayloadHeader header, ParameterLayout layout, Quantiser quantiser) {
    this.header = header;
    this.layout = layout;
    this.quantiser = quantiser;
  }

  static Optional<Float> sharedScale(Quantiser quantiser) {
    return quantiser.format() instanceof Ternary.Format ternary
        ? ternary.shared()
        : Optional.empty();
  }

  /** Every entry of every tensor. */
  byte[] dense(float[] values, Optional<PositionCoder> coder) {
    RangeEncoder stream = new RangeEncoder(values.length);
    ByteSink plain = new ByteSink(values.length);
    boolean streamAllowed = coder.isEmpty() || coder.get() == PositionCoder.RANGE;
    // Only symbols are modelled; other values are the same bits either way.
    boolean modelled = quantiser.isModelled() && streamAllowed;
    for (ParameterLayout.Entry entry : layout.entries()) {
      quantiser.write(modelled ? stream : plain, values, entry.offset(), entry.end());
      plain.align();
    }
    byte[] body = modelled ? stream.finish() : plain.toArray();
    return seal(modelled ? PayloadFrame.FLAG_STREAM : 0, body);
  }

  /**
   * Kept entries with their positions: in the shortest form, but of large vectors in sections if
   * those are at most 1 % longer than the stream, since they are coded several times as fast.
   */
  byte[] sparse(Sparse kept, Optional<PositionCoder> coder) {
    if (coder.isPresent() && coder.get() == PositionCoder.RANGE) {
      return sealStream(SparseBody.stream(kept, layout, quantiser));
    }
    List<SectionChoice> choices = SparseBody.choices(kept, layout, quantiser.format(), coder);
    long bytes = choices.stream().mapToLong(SectionChoice::bytes).sum();
    boolean large =
        layout.size() >= LARGE
            && !quantiser.isModelled()
            && 8 * bytes <= MOST_LONGER * SparseBody.streamBits(kept, layout, quantiser.format());
    if (coder.isEmpty() && !large) {
      byte[] stream = SparseBody.stream(kept, layout, quantiser);
      if (stream.length <= bytes) {
        return sealStream(stream);
      }
    }
    ByteSink sink = new ByteSink((int) Math.min(Integer.MAX_VALUE - 64, bytes + 64));
    SparseBody.writeSections(sink, kept, layout, quantiser, choices);
    boolean newest = choices.stream().anyMatch(choice -> choice.coder() == PositionCoder.RANS);
    return seal(
        newest ? PayloadFrame.VERSION : PayloadFrame.OLDEST_VERSION,
        PayloadFrame.FLAG_SPARSE,
        sink.toArray());
  }

  private byte[] sealStream(byte[] stream) {
    return seal(PayloadFrame.FLAG_SPARSE | PayloadFrame.FLAG_STREAM, stream);
  }

  /** Kept entries at positions that follow from the header. */
  byte[] seeded(Sparse kept) {
    ByteSink sink = new ByteSink(64 + kept.count());
    sink.varint(kept.count());
    int from = 0;
    for (ParameterLayout.Entry entry : layout.entries()) {
      int to = kept.firstAtOrAfter(entry.end());
      quantiser.write(sink, kept.values(), from, to);
      sink.align();
      from = to;
    }
    return seal(PayloadFrame.FLAG_SEEDED, sink.toArray());
  }

  private byte[] seal(int flags, byte[] body) {
    return seal(PayloadFrame.OLDEST_VERSION, flags, body);
  }

  /** A payload has the oldest version that knows all it contains. */
  private byte[] seal(int version, int flags, byte[] body) {
    Optional<Float> shared = sharedScale(quantiser);
    ByteSink sink = new ByteSink(64 + body.length);
    int scaleFlag = shared.isPresent() ? PayloadFrame.FLAG_SHARED_SCALE : 0;
    new PayloadFrame(quantiser.format().id(), flags | scaleFlag, header).write(sink, version);
    shared.ifPresent(sink::f32);
    if (quantiser.format() instanceof Qsgd.Format qsgd) {
      sink.u8(qsgd.levels());
    }
    sink.raw(body);
    return PayloadFrame.seal(sink);
  }
}
