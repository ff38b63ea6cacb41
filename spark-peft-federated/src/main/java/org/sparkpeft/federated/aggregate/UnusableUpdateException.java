package org.sparkpeft.federated.aggregate;

/**
 * A client's update that must not enter a sum: an entry is not finite or absurdly large. The round
 * goes on without it.
 */
public final class UnusableUpdateException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  public UnusableUpdateException(String message) {
    super(message);
  }
}
