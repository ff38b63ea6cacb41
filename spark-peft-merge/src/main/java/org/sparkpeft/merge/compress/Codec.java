package org.sparkpeft.merge.compress;

import java.util.Optional;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.TaskVector;

/**
 * Makes a payload of an update: sparsify, quantise, code. Immutable and safe for use by several
 * threads. {@link Payload#decode} reads what any codec wrote; payloads describe themselves.
 *
 * <p>The bytes depend only on the configuration, the update and the header. Random choices
 * (stochastic rounding, random sparsifiers) are drawn from the header's layout, round and client.
 */
public final class Codec {
  private final CodecConfig config;

  private Codec(CodecConfig config) {
    this.config = config;
  }

  public static Codec of(CodecConfig config) {
    return new Codec(config);
  }

  public CodecConfig config() {
    return config;
  }

  /**
   * Encodes an update.
   *
   * @throws NonFiniteUpdateException if an entry is NaN or infinite
   * @throws IllegalArgumentException if the header names another layout
   */
  public byte[] encode(TaskVector update, PayloadHeader header) {
    ParameterLayout layout = update.layout();
    if (header.layoutFingerprint() != layout.fingerprint()) {
      throw new IllegalArgumentException(
          "the header is for another layout than the update; make it with PayloadHeader.of");
    }
    float[] values = update.toArray();
    NonFiniteUpdateException.requireFinite(values);
    Philox random =
        Philox.of(
            header.layoutFingerprint(), "codec", header.round(), Philox.hash(header.clientId()));
    Quantiser quantiser = quantiser(values, random);
    return switch (config.codec()) {
      case "compeft", "topk" -> {
        TopK topK = new TopK(config.density(), config.selection().equals("tensor"));
        yield sparse(topK.sparsify(values, layout, random), layout, quantiser, header);
      }
      default -> dense(values, layout, quantiser, header);
    };
  }

  private Quantiser quantiser(float[] values, Philox random) {
    return switch (config.codec()) {
      case "compeft" -> ternary(values);
      case "topk", "fp16" -> new HalfPrecision();
      case "int8" ->
          new BlockInteger.Rounding(
              8,
              config.rounding().equals("stochastic")
                  ? Optional.of(random.child(Philox.hash("rounding")))
                  : Optional.empty());
      case "none" -> new FullPrecision();
      default -> throw new IllegalStateException("no codec named " + config.codec());
    };
  }

  private Quantiser ternary(float[] values) {
    return switch (config.scale()) {
      case "mean" -> new Ternary.Mean(config.alpha());
      case "sigma" ->
          new Ternary.Fixed(
              Ternary.representable(config.alpha() * Ternary.sampleDeviation(values)));
      default -> throw new IllegalStateException("no scale named " + config.scale());
    };
  }

  private static byte[] dense(
      float[] values, ParameterLayout layout, Quantiser quantiser, PayloadHeader header) {
    ByteSink sink = new ByteSink(64 + 4 * values.length);
    new PayloadFrame(quantiser.format().id(), 0, header).write(sink);
    for (ParameterLayout.Entry entry : layout.entries()) {
      quantiser.write(sink, values, entry.offset(), entry.end());
      sink.align();
    }
    return PayloadFrame.seal(sink);
  }

  private static byte[] sparse(
      Sparse kept, ParameterLayout layout, Quantiser quantiser, PayloadHeader header) {
    Optional<Float> shared =
        quantiser.format() instanceof Ternary.Format ternary ? ternary.shared() : Optional.empty();
    // A standard deviation of 0 means all entries are equal; nothing is worth sending then.
    Sparse sent =
        shared.isPresent() && shared.get() == 0 ? Sparse.of(new int[0], new float[0]) : kept;
    byte[] stream = SparseBody.stream(sent, layout, quantiser);
    boolean sections = SparseBody.sectionBytes(sent, layout, quantiser) < stream.length;
    int flags =
        PayloadFrame.FLAG_SPARSE
            | (sections ? 0 : PayloadFrame.FLAG_STREAM)
            | (shared.isPresent() ? PayloadFrame.FLAG_SHARED_SCALE : 0);
    ByteSink sink = new ByteSink(64 + stream.length);
    new PayloadFrame(quantiser.format().id(), flags, header).write(sink);
    shared.ifPresent(sink::f32);
    if (sections) {
      SparseBody.writeSections(sink, sent, layout, quantiser);
    } else {
      sink.raw(stream);
    }
    return PayloadFrame.seal(sink);
  }
}
