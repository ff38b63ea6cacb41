package org.sparkpeft.core.error;

/**
 * Bytes that are not what they claim to be: a model, adapter, checkpoint or payload. Exit code 3.
 */
public final class FormatException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  /**
   * @param source path or description of the bytes
   * @param offset byte offset at which the problem was seen, or -1 when it concerns the whole
   * @param message what was found, what is allowed, what to do
   */
  public FormatException(String source, long offset, String message) {
    super(source + (offset >= 0 ? " at byte " + offset : "") + ": " + message);
  }

  public FormatException(String source, String message) {
    this(source, -1, message);
  }

  public FormatException(String source, String message, Throwable cause) {
    super(source + ": " + message, cause);
  }
}
