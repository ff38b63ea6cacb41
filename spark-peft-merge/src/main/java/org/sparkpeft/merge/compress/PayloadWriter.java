package org.sparkpeft.merge.compress;

import java.util.Optional;
import org.sparkpeft.core.vector.ParameterLayout;

/** Puts one update's values into a payload; the counterpart of {@link Payload#decode}. */
final class PayloadWriter {
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

  /** Kept entries with their positions. */
  byte[] sparse(Sparse kept, Optional<PositionCoder> coder) {
    Optional<PositionCoder> section = coder.filter(c -> c != PositionCoder.RANGE);
    if (section.isEmpty()) {
      byte[] stream = SparseBody.stream(kept, layout, quantiser);
      if (coder.isPresent()
          || stream.length <= SparseBody.sectionBytes(kept, layout, quantiser.format(), section)) {
        return seal(PayloadFrame.FLAG_SPARSE | PayloadFrame.FLAG_STREAM, stream);
      }
    }
    ByteSink sink = new ByteSink(64 + kept.count());
    SparseBody.writeSections(sink, kept, layout, quantiser, section);
    return seal(PayloadFrame.FLAG_SPARSE, sink.toArray());
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
    Optional<Float> shared = sharedScale(quantiser);
    ByteSink sink = new ByteSink(64 + body.length);
    int scaleFlag = shared.isPresent() ? PayloadFrame.FLAG_SHARED_SCALE : 0;
    new PayloadFrame(quantiser.format().id(), flags | scaleFlag, header).write(sink);
    shared.ifPresent(sink::f32);
    if (quantiser.format() instanceof Qsgd.Format qsgd) {
      sink.u8(qsgd.levels());
    }
    sink.raw(body);
    return PayloadFrame.seal(sink);
  }
}
