package org.sparkpeft.merge.compress;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.sparkpeft.core.vector.ParameterLayout;

/**
 * The part of a payload that holds kept positions and values, in one of three forms.
 *
 * <p>Stream: one range-coded stream; for each tensor its mask (see {@link MaskCode}), then its
 * values. Costs about a byte a tensor more than the entropy.
 *
 * <p>Masks: the number each tensor keeps, the values of all tensors, then all masks by one {@link
 * MaskRans}. Costs 4 bytes, and one or two a tensor, more than the entropy.
 *
 * <p>Sections, each byte-aligned: u8 tag = position coder * 32 + Rice parameter; unless empty:
 * varint K, positions, values. The coder with the fewest bytes is taken for each tensor.
 */
final class SparseBody {
  private SparseBody() {}

  /** Receives each decoded tensor. */
  interface Receiver {
    /** {@code positions[0..count)} are flat positions, {@code values[0..count)} their values. */
    void tensor(ParameterLayout.Entry entry, int[] positions, float[] values, int count);
  }

  static byte[] stream(Sparse kept, ParameterLayout layout, Quantiser quantiser) {
    RangeEncoder coder = new RangeEncoder(64 + kept.count());
    MaskCode masks = new MaskCode();
    int from = 0;
    for (ParameterLayout.Entry entry : layout.entries()) {
      int to = kept.firstAtOrAfter(entry.end());
      masks.write(coder, kept.positions(), from, to, entry);
      quantiser.write(coder, kept.values(), from, to);
      from = to;
    }
    return coder.finish();
  }

  static void readStream(
      RangeDecoder coder, ParameterLayout layout, ValueFormat format, Receiver receiver) {
    int largest = largest(layout);
    int[] positions = new int[largest];
    float[] values = new float[largest];
    MaskCode masks = new MaskCode();
    for (ParameterLayout.Entry entry : layout.entries()) {
      int count = masks.read(coder, positions, entry);
      format.read(coder, values, count);
      receiver.tensor(entry, positions, values, count);
    }
    coder.finish();
  }

  /** The masks of all tensors. */
  static MaskRans.Encoder masks(Sparse kept, ParameterLayout layout) {
    MaskRans.Encoder coder = new MaskRans.Encoder(kept.count() / 8);
    List<ParameterLayout.Entry> entries = layout.entries();
    int to = kept.count();
    for (int i = entries.size() - 1; i >= 0; i--) {
      ParameterLayout.Entry entry = entries.get(i);
      int from = kept.firstAtOrAfter(entry.offset());
      coder.prepend(kept.positions(), from, to, entry.offset(), entry.size());
      to = from;
    }
    return coder;
  }

  /** Exact length of the masks form. */
  static long masksBytes(
      MaskRans.Encoder masks, Sparse kept, ParameterLayout layout, ValueFormat format) {
    long counts = 0;
    long bits = 0;
    int from = 0;
    for (ParameterLayout.Entry entry : layout.entries()) {
      int to = kept.firstAtOrAfter(entry.end());
      counts += ByteSink.varintBytes(to - from);
      bits += format.bits(to - from);
      from = to;
    }
    return counts + (bits + 7) / 8 + masks.bytes();
  }

  static void writeMasks(
      ByteSink sink,
      MaskRans.Encoder masks,
      Sparse kept,
      ParameterLayout layout,
      Quantiser quantiser) {
    int from = 0;
    for (ParameterLayout.Entry entry : layout.entries()) {
      int to = kept.firstAtOrAfter(entry.end());
      sink.varint(to - from);
      from = to;
    }
    from = 0;
    for (ParameterLayout.Entry entry : layout.entries()) {
      int to = kept.firstAtOrAfter(entry.end());
      quantiser.write(sink, kept.values(), from, to);
      from = to;
    }
    sink.align();
    masks.write(sink);
  }

  static void readMasks(
      ByteSource source, ParameterLayout layout, ValueFormat format, Receiver receiver) {
    List<ParameterLayout.Entry> entries = layout.entries();
    int[] counts = new int[entries.size()];
    int most = 0;
    long bits = 0;
    for (int i = 0; i < counts.length; i++) {
      counts[i] = source.varint("number of kept entries", entries.get(i).size());
      most = Math.max(most, counts[i]);
      bits += format.bits(counts[i]);
    }
    ByteSource plain = source.part((int) Math.min((bits + 7) / 8, Integer.MAX_VALUE));
    MaskRans.Decoder masks = new MaskRans.Decoder(source);
    int[] positions = new int[most];
    float[] values = new float[most];
    for (int i = 0; i < counts.length; i++) {
      ParameterLayout.Entry entry = entries.get(i);
      masks.read(positions, counts[i], entry.offset(), entry.size());
      format.read(plain, values, counts[i]);
      receiver.tensor(entry, positions, values, counts[i]);
    }
    plain.align();
    masks.finish();
  }

  /** How each tensor's section is coded, in layout order. */
  static List<SectionChoice> choices(
      Sparse kept, ParameterLayout layout, ValueFormat format, Optional<PositionCoder> only) {
    List<SectionChoice> choices = new ArrayList<>();
    int from = 0;
    for (ParameterLayout.Entry entry : layout.entries()) {
      int to = kept.firstAtOrAfter(entry.end());
      choices.add(SectionChoice.best(kept, from, to, entry, format, only));
      from = to;
    }
    return choices;
  }

  static void writeSections(
      ByteSink sink,
      Sparse kept,
      ParameterLayout layout,
      Quantiser quantiser,
      List<SectionChoice> choices) {
    int from = 0;
    int index = 0;
    for (ParameterLayout.Entry entry : layout.entries()) {
      int to = kept.firstAtOrAfter(entry.end());
      SectionChoice choice = choices.get(index++);
      sink.u8(choice.coder().id() << 5 | choice.tagParameter());
      if (from < to) {
        sink.varint(to - from);
        writeSection(sink, kept, from, to, entry, quantiser, choice);
        sink.align();
      }
      from = to;
    }
  }

  /**
   * Bits of the stream form, but for a few a tensor, without writing it; values must be plain bits.
   */
  static double streamBits(Sparse kept, ParameterLayout layout, ValueFormat format) {
    double bits = 0;
    int from = 0;
    for (ParameterLayout.Entry entry : layout.entries()) {
      int to = kept.firstAtOrAfter(entry.end());
      bits += MaskCode.bits(kept.positions(), from, to, entry) + format.bits(to - from);
      from = to;
    }
    return bits;
  }

  private static void writeSection(
      ByteSink sink,
      Sparse kept,
      int from,
      int to,
      ParameterLayout.Entry entry,
      Quantiser quantiser,
      SectionChoice choice) {
    int[] positions = kept.positions();
    switch (choice.coder()) {
      case RICE -> RiceCode.write(sink, positions, from, to, entry.offset(), choice.parameter());
      case GOLOMB -> {
        if (choice.tagParameter() == 0) {
          sink.varint(choice.parameter());
        }
        GolombCode.write(sink, positions, from, to, entry.offset(), choice.parameter());
      }
      case BITMASK ->
          PositionCoder.writeBitmask(sink, positions, from, to, entry.offset(), entry.size());
      case LIST -> PositionCoder.writeList(sink, positions, from, to, entry.offset());
      case TERNARY_DIGITS -> {
        if (quantiser instanceof Ternary.Mean mean) {
          sink.f32(mean.magnitude(kept.values(), from, to));
        }
        boolean[] negative = new boolean[to - from];
        for (int i = from; i < to; i++) {
          negative[i - from] = kept.value(i) < 0;
        }
        PositionCoder.writeDigits(
            sink, positions, from, to, entry.offset(), entry.size(), negative);
      }
      case EMPTY, RANGE, RANS -> throw new IllegalStateException("never chosen for a kept section");
    }
    if (choice.coder() != PositionCoder.TERNARY_DIGITS) {
      sink.align();
      quantiser.write(sink, kept.values(), from, to);
    }
  }

  static void readSections(
      ByteSource source, ParameterLayout layout, ValueFormat format, Receiver receiver) {
    float[] values = new float[largest(layout)];
    for (ParameterLayout.Entry entry : layout.entries()) {
      int tag = source.u8();
      PositionCoder coder = PositionCoder.of(tag >>> 5, source);
      if (coder == PositionCoder.EMPTY) {
        receiver.tensor(entry, new int[0], values, 0);
        continue;
      }
      int count = source.varint("number of kept entries", entry.size());
      int[] positions = readSection(source, coder, tag & 31, count, entry, format, values);
      source.align();
      receiver.tensor(entry, positions, values, count);
    }
    source.requireEnd();
  }

  private static int[] readSection(
      ByteSource source,
      PositionCoder coder,
      int parameter,
      int count,
      ParameterLayout.Entry entry,
      ValueFormat format,
      float[] values) {
    int[] positions =
        switch (coder) {
          case RICE -> RiceCode.read(source, count, entry.offset(), entry.size(), parameter);
          case GOLOMB -> {
            int divisor = parameter > 0 ? parameter : source.varint("Golomb divisor", 1 << 30);
            if (divisor == 0) {
              throw source.malformed("a Golomb divisor must be at least 1");
            }
            yield GolombCode.read(source, count, entry.offset(), entry.size(), divisor);
          }
          case BITMASK -> PositionCoder.readBitmask(source, count, entry.offset(), entry.size());
          case LIST -> PositionCoder.readList(source, count, entry.offset(), entry.size());
          case TERNARY_DIGITS -> {
            if (!(format instanceof Ternary.Format ternary)) {
              throw coder.unusable(source);
            }
            float scale = ternary.readScale(source);
            boolean[] negative = new boolean[count];
            int[] read =
                PositionCoder.readDigits(source, count, entry.offset(), entry.size(), negative);
            for (int i = 0; i < count; i++) {
              values[i] = negative[i] ? -scale : scale;
            }
            yield read;
          }
          case EMPTY, RANGE, RANS -> throw coder.unusable(source);
        };
    if (coder != PositionCoder.TERNARY_DIGITS) {
      source.align();
      format.read(source, values, count);
    }
    return positions;
  }

  private static int largest(ParameterLayout layout) {
    List<ParameterLayout.Entry> entries = layout.entries();
    int largest = 0;
    for (ParameterLayout.Entry entry : entries) {
      largest = Math.max(largest, entry.size());
    }
    return largest;
  }
}
