package org.sparkpeft.core.error;

/**
 * The user's data or files cannot be used: a missing file, a missing column, null labels, no
 * examples. Exit code 3.
 */
public final class DataException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  public DataException(String message) {
    super(message);
  }

  public DataException(String message, Throwable cause) {
    super(message, cause);
  }
}
