package org.sparkpeft.merge.compress;

import java.util.List;
import java.util.Optional;
import org.sparkpeft.core.vector.ParameterLayout;

/** Puts one update's values into a payload; the counterpart of {@link Payload#decode}. */
final class PayloadWriter {
  /** Entries from which speed counts: below, the stream takes two milliseconds at most. */
  private static final int LARGE = 1 << 17;

  /** How many times as long other forms of a large vector must be for the stream to be taken. */
  private static final double MOST_LONGER = 1.05;

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
   * Kept entries with their positions. Without a coder: the shortest of masks, sections and stream;
   * but of vectors of 131,072 entries and more the stream, which takes several times as long, only
   * if it is shorter by more than 5 %.
   */
  byte[] sparse(Sparse kept, Optional<PositionCoder> coder) {
    if (coder.isPresent()) {
      return switch (coder.get()) {
        case RANGE -> sealStream(SparseBody.stream(kept, layout, quantiser));
        case RANS -> sealMasks(SparseBody.masks(kept, layout), kept);
        default -> sealSections(SparseBody.choices(kept, layout, quantiser.format(), coder), kept);
      };
    }
    MaskRans.Encoder masks = SparseBody.masks(kept, layout);
    long masksBytes = SparseBody.masksBytes(masks, kept, layout, quantiser.format());
    List<SectionChoice> sections = SparseBody.choices(kept, layout, quantiser.format(), coder);
    long sectionsBytes = bytes(sections);
    double enough = Math.min(masksBytes, sectionsBytes) / (layout.size() < LARGE ? 1 : MOST_LONGER);
    if (layout.size() < LARGE || streamMayTake(enough, kept)) {
      byte[] stream = SparseBody.stream(kept, layout, quantiser);
      if (stream.length < enough) {
        return sealStream(stream);
      }
    }
    return masksBytes < sectionsBytes ? sealMasks(masks, kept) : sealSections(sections, kept);
  }

  /** Whether the stream may have fewer bytes; known without writing it unless it models values. */
  private boolean streamMayTake(double bytes, Sparse kept) {
    return quantiser.isModelled()
        || SparseBody.streamBits(kept, layout, quantiser.format()) < 8 * bytes;
  }

  private static long bytes(List<SectionChoice> sections) {
    return sections.stream().mapToLong(SectionChoice::bytes).sum();
  }

  private byte[] sealSections(List<SectionChoice> sections, Sparse kept) {
    ByteSink sink = sink(bytes(sections));
    SparseBody.writeSections(sink, kept, layout, quantiser, sections);
    return seal(PayloadFrame.FLAG_SPARSE, sink.toArray());
  }

  private byte[] sealMasks(MaskRans.Encoder masks, Sparse kept) {
    ByteSink sink = sink(SparseBody.masksBytes(masks, kept, layout, quantiser.format()));
    SparseBody.writeMasks(sink, masks, kept, layout, quantiser);
    return seal(PayloadFrame.FLAG_SPARSE | PayloadFrame.FLAG_MASKS, sink.toArray());
  }

  private static ByteSink sink(long bytes) {
    return new ByteSink((int) Math.min(Integer.MAX_VALUE - 64, bytes + 64));
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

  /** A payload has the oldest version that knows all it contains. */
  private byte[] seal(int flags, byte[] body) {
    boolean newest = (flags & PayloadFrame.FLAG_MASKS) != 0;
    int version = newest ? PayloadFrame.VERSION : PayloadFrame.OLDEST_VERSION;
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
