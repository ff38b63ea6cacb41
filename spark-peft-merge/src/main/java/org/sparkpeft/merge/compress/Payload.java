package org.sparkpeft.merge.compress;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.TaskVector;

/**
 * A decoded payload. The package description gives the bytes.
 *
 * @param header round, client and layout it names
 * @param vector the update, finite, in the receiver's layout
 * @param statistics its cost against the entropy bound
 */
public record Payload(PayloadHeader header, TaskVector vector, PayloadStatistics statistics) {

  /**
   * Decodes bytes that may come from anywhere. Allocates nothing larger than the layout's vector.
   *
   * @throws org.sparkpeft.core.error.FormatException if the bytes are not a payload for this layout
   */
  public static Payload decode(byte[] bytes, ParameterLayout layout) {
    ByteSource source = PayloadFrame.open("payload", bytes);
    PayloadFrame frame = PayloadFrame.read(source);
    frame.requireLayout(layout);
    ValueFormat format = format(frame, source);
    Collected collected = new Collected(layout, format);
    if (frame.has(PayloadFrame.FLAG_SEEDED)) {
      readSeeded(source, layout, format, frame.header().round(), collected);
    } else if (!frame.has(PayloadFrame.FLAG_SPARSE)) {
      readDense(source, bytes, frame, layout, format, collected);
    } else if (frame.has(PayloadFrame.FLAG_STREAM)) {
      SparseBody.readStream(stream(source, bytes), layout, format, collected);
    } else if (frame.has(PayloadFrame.FLAG_MASKS)) {
      SparseBody.readMasks(source, layout, format, collected);
    } else {
      SparseBody.readSections(source, layout, format, collected);
    }
    return new Payload(
        frame.header(),
        TaskVector.wrap(layout, collected.values),
        new PayloadStatistics(
            bytes.length,
            collected.boundBits + (frame.has(PayloadFrame.FLAG_SHARED_SCALE) ? 32 : 0),
            collected.sections));
  }

  /** The header alone, for logging who sent what; checks the checksum. */
  public static PayloadHeader header(byte[] bytes) {
    return PayloadFrame.read(PayloadFrame.open("payload", bytes)).header();
  }

  private static ValueFormat format(PayloadFrame frame, ByteSource source) {
    boolean ternary = frame.codecId() == Ternary.ID;
    if (frame.has(PayloadFrame.FLAG_SHARED_SCALE) && !ternary) {
      throw source.malformed("a shared scale belongs to ternary values only");
    }
    if (frame.has(PayloadFrame.FLAG_SEEDED)
        && (frame.has(PayloadFrame.FLAG_SPARSE) || frame.has(PayloadFrame.FLAG_STREAM))) {
      throw source.malformed("seeded positions go with no other form");
    }
    if (frame.has(PayloadFrame.FLAG_MASKS)
        && (!frame.has(PayloadFrame.FLAG_SPARSE) || frame.has(PayloadFrame.FLAG_STREAM))) {
      throw source.malformed("masks are a form of the sparse body, and not of a stream");
    }
    return switch (frame.codecId()) {
      case FullPrecision.ID -> new FullPrecision();
      case HalfPrecision.ID -> new HalfPrecision();
      case Ternary.ID ->
          new Ternary.Format(
              frame.has(PayloadFrame.FLAG_SHARED_SCALE)
                  ? Optional.of(source.f32("the shared scale"))
                  : Optional.empty());
      case BrainFloat.ID -> new BrainFloat();
      case 5 -> new BlockInteger.Format(8);
      case 6 -> new BlockInteger.Format(4);
      case 7 -> new BlockInteger.Format(2);
      case Qsgd.ID -> {
        int levels = source.u8();
        if (levels < 1 || levels > Qsgd.MAX_LEVELS) {
          throw source.malformed("QSGD has 1.." + Qsgd.MAX_LEVELS + " levels, got " + levels);
        }
        yield new Qsgd.Format(levels);
      }
      default ->
          throw source.malformed(
              "has codec "
                  + frame.codecId()
                  + ", which this program does not know; use the same release on all nodes");
    };
  }

  private static RangeDecoder stream(ByteSource source, byte[] bytes) {
    int from = source.position();
    return new RangeDecoder("payload", bytes, from, from + source.remaining());
  }

  private static void readDense(
      ByteSource source,
      byte[] bytes,
      PayloadFrame frame,
      ParameterLayout layout,
      ValueFormat format,
      Collected collected) {
    boolean coded = frame.has(PayloadFrame.FLAG_STREAM);
    RangeDecoder stream = stream(source, bytes);
    for (ParameterLayout.Entry entry : layout.entries()) {
      float[] values = new float[entry.size()];
      format.read(coded ? stream : source, values, values.length);
      source.align();
      collected.dense(entry, values);
    }
    if (coded) {
      stream.finish();
    } else {
      source.requireEnd();
    }
  }

  private static void readSeeded(
      ByteSource source,
      ParameterLayout layout,
      ValueFormat format,
      int round,
      Collected collected) {
    int kept = source.varint("number of kept entries", layout.size());
    int[] positions = RandomK.positions(kept, layout, round);
    int from = 0;
    for (ParameterLayout.Entry entry : layout.entries()) {
      int to = from;
      while (to < kept && positions[to] < entry.end()) {
        to++;
      }
      float[] values = new float[to - from];
      format.read(source, values, values.length);
      source.align();
      collected.seeded(entry, positions, from, values);
      from = to;
    }
    source.requireEnd();
  }

  /** Gathers what the body gives. */
  private static final class Collected implements SparseBody.Receiver {
    private final float[] values;
    private final ValueFormat format;
    private final List<PayloadStatistics.Section> sections = new ArrayList<>();
    private double boundBits;

    Collected(ParameterLayout layout, ValueFormat format) {
      this.values = new float[layout.size()];
      this.format = format;
    }

    @Override
    public void tensor(ParameterLayout.Entry entry, int[] positions, float[] kept, int count) {
      for (int i = 0; i < count; i++) {
        values[positions[i]] = kept[i];
      }
      count(entry, count);
      boundBits += EntropyBound.positionBits(entry.size(), count);
    }

    void dense(ParameterLayout.Entry entry, float[] all) {
      System.arraycopy(all, 0, values, entry.offset(), all.length);
      count(entry, all.length);
    }

    /** Positions were not sent, so the bound has only values. */
    void seeded(ParameterLayout.Entry entry, int[] positions, int from, float[] kept) {
      for (int i = 0; i < kept.length; i++) {
        values[positions[from + i]] = kept[i];
      }
      count(entry, kept.length);
    }

    private void count(ParameterLayout.Entry entry, int kept) {
      sections.add(new PayloadStatistics.Section(entry.name(), entry.size(), kept));
      boundBits += format.bits(kept);
    }
  }
}
