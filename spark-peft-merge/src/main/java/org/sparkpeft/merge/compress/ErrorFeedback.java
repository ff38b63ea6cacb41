package org.sparkpeft.merge.compress;

import org.sparkpeft.core.vector.TaskVector;

/**
 * Error feedback (Seide et al., 2014; Karimireddy et al., 2019): what compression lost is added to
 * the next update. With residual e and update g: c = e + g is encoded, d = decode(encode(c)) is
 * what the receiver gets, and the new residual is c - d. Over all rounds the sum of everything sent
 * plus the residual is the sum of all updates.
 *
 * <p>The state, one vector for each client, belongs to the caller. It may take the new residual
 * only when the payload was accepted; if it was lost or refused, {@link Encoded#restored} is the
 * residual to keep.
 */
public final class ErrorFeedback {
  private ErrorFeedback() {}

  /**
   * One step's result.
   *
   * @param payload the bytes to send; owned by the receiver of this record
   * @param decoded what the payload decodes to
   * @param residual what to add to the next update once this one is accepted
   */
  @SuppressWarnings("ArrayRecordComponent") // Bytes to be sent, never compared.
  public record Encoded(byte[] payload, TaskVector decoded, TaskVector residual) {
    /** The residual when the payload was not accepted: nothing sent, everything still owed. */
    public TaskVector restored() {
      return residual.plus(decoded);
    }
  }

  /** Encodes {@code residual + update}. Start with a residual of zeros. */
  public static Encoded encode(
      Codec codec, TaskVector residual, TaskVector update, PayloadHeader header) {
    return encode(codec, residual.plus(update), header);
  }

  /** Encodes an update without memory: the residual says what was lost. */
  public static Encoded encode(Codec codec, TaskVector corrected, PayloadHeader header) {
    byte[] payload = codec.encode(corrected, header);
    TaskVector decoded = Payload.decode(payload, corrected.layout()).vector();
    return new Encoded(payload, decoded, corrected.minus(decoded));
  }
}
