package org.sparkpeft.core.train;

/** Training met a loss, gradient or parameter that is infinite or not a number. */
public final class NonFiniteException extends RuntimeException {
  private static final long serialVersionUID = 1L;
  private final int step;

  /**
   * @param what what was not finite
   * @param value the value
   * @param step optimiser update, from 0, at which it happened
   * @param clientId whose examples were trained on
   */
  NonFiniteException(String what, double value, int step, String clientId) {
    super(
        what
            + " of client "
            + clientId
            + " became "
            + value
            + " in update "
            + step
            + "; lower learning_rate or set max_grad_norm");
    this.step = step;
  }

  /** Optimiser update, from 0, at which it happened. */
  public int step() {
    return step;
  }
}
