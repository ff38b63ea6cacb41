package org.sparkpeft.federated.round;

/**
 * A round ended without enough clients, or with an error that is no client's. Everything up to the
 * round before is on disk.
 */
public final class RoundFailedException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  public RoundFailedException(int round, String message) {
    super("round " + round + ": " + message);
  }

  public RoundFailedException(int round, String message, Throwable cause) {
    super("round " + round + ": " + message, cause);
  }
}
