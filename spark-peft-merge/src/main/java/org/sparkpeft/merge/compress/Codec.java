package org.sparkpeft.merge.compress;

import java.util.Optional;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.TaskVector;

/**
 * Makes a payload of an update: sparsify, quantise, code. Immutable and safe for use by several
 * threads. {@link Payload#decode} reads what any codec wrote; payloads describe themselves.
 *
 * <p>The bytes depend only on the pipeline, the update and the header. Random choices (stochastic
 * rounding, random sparsifiers) are drawn from the header's layout, round and client.
 */
public final class Codec {
  private final Pipeline pipeline;

  private Codec(Pipeline pipeline) {
    this.pipeline = pipeline;
  }

  public static Codec of(CodecConfig config) {
    return new Codec(Pipeline.of(config));
  }

  public static Codec of(Pipeline pipeline) {
    return new Codec(pipeline);
  }

  public Pipeline pipeline() {
    return pipeline;
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
    if (pipeline.randomK().isPresent()) {
      Sparse kept = pipeline.randomK().get().sparsify(values, layout, header.round());
      Quantiser quantiser = pipeline.quantisation().bind(values, kept.values(), random);
      return new PayloadWriter(header, layout, quantiser).seeded(kept);
    }
    if (pipeline.sparsifier().isPresent()) {
      Sparse kept = pipeline.sparsifier().get().sparsify(values, layout, random);
      Quantiser quantiser = pipeline.quantisation().bind(values, kept.values(), random);
      Optional<Float> shared = PayloadWriter.sharedScale(quantiser);
      // A magnitude of 0, of equal or no entries, makes nothing worth sending.
      boolean nothing = shared.isPresent() && shared.get() == 0;
      return new PayloadWriter(header, layout, quantiser)
          .sparse(nothing ? Sparse.of(new int[0], new float[0]) : kept, pipeline.coder());
    }
    Quantiser quantiser = pipeline.quantisation().bind(values, values, random);
    return new PayloadWriter(header, layout, quantiser).dense(values, pipeline.coder());
  }
}
