package org.sparkpeft.merge.compress;

import org.sparkpeft.core.vector.TaskVector;

/**
 * Error feedback with momentum correction and momentum factor masking, from Deep Gradient
 * Compression (Lin et al., 2018): u = m u + g, v = v + u, v is encoded, and where something was
 * sent u becomes zero and v loses what was sent. (Published for exact values, where v becomes zero
 * there; with quantised values the rounding stays in v.)
 *
 * @param momentum u, the momentum of updates
 * @param residual v, what is still owed
 */
public record MomentumFeedback(TaskVector momentum, TaskVector residual) {

  /** The state of a client before its first update. */
  public static MomentumFeedback start(TaskVector like) {
    TaskVector zeros = TaskVector.zeros(like.layout());
    return new MomentumFeedback(zeros, zeros);
  }

  /**
   * One step.
   *
   * @param payload the bytes to send
   * @param decoded what they decode to
   * @param next the state if the payload is accepted; otherwise keep {@code corrected}
   * @param corrected the state with the update taken in and nothing sent
   */
  @SuppressWarnings("ArrayRecordComponent") // Bytes to be sent, never compared.
  public record Step(
      byte[] payload, TaskVector decoded, MomentumFeedback next, MomentumFeedback corrected) {}

  /**
   * Takes in an update and encodes what is owed.
   *
   * @param factor m, in [0, 1)
   */
  public Step encode(Codec codec, float factor, TaskVector update, PayloadHeader header) {
    if (!(factor >= 0 && factor < 1)) {
      throw new IllegalArgumentException("the momentum must be in [0, 1), got " + factor);
    }
    TaskVector u = momentum.times(factor).plus(update);
    ErrorFeedback.Encoded encoded = ErrorFeedback.encode(codec, residual, u, header);
    float[] masked = u.toArray();
    for (int i = 0; i < masked.length; i++) {
      if (encoded.decoded().get(i) != 0) {
        masked[i] = 0;
      }
    }
    return new Step(
        encoded.payload(),
        encoded.decoded(),
        new MomentumFeedback(TaskVector.wrap(u.layout(), masked), encoded.residual()),
        new MomentumFeedback(u, residual.plus(u)));
  }
}
