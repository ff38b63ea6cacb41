package org.sparkpeft.federated.client;

/** Finds where in this project's code an exception passed, for one-line failure reports. */
final class OwnFrame {
  private static final String ROOT = "org.sparkpeft.";

  private OwnFrame() {}

  /**
   * The innermost stack frame of the root cause that is ours, or of the exception itself; empty
   * when there is none.
   */
  static String of(Throwable thrown) {
    Throwable cause = thrown;
    while (cause.getCause() != null) {
      cause = cause.getCause();
    }
    String frame = first(cause);
    return frame.isEmpty() ? first(thrown) : frame;
  }

  private static String first(Throwable thrown) {
    for (StackTraceElement element : thrown.getStackTrace()) {
      if (element.getClassName().startsWith(ROOT)) {
        return element.getClassName()
            + "."
            + element.getMethodName()
            + "("
            + element.getFileName()
            + ":"
            + element.getLineNumber()
            + ")";
      }
    }
    return "";
  }

  /** Class and message in one line. */
  static String message(Throwable thrown) {
    String message = thrown.getMessage();
    return thrown.getClass().getSimpleName()
        + (message == null ? "" : ": " + message.replaceAll("\\s+", " "));
  }
}
