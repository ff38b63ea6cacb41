package org.sparkpeft.federated.cli;

/** A stack trace as text, causes included. */
final class StackTrace {
  private static final int MAX_CAUSES = 20;

  private StackTrace() {}

  static String of(Throwable thrown) {
    StringBuilder text = new StringBuilder();
    Throwable next = thrown;
    for (int depth = 0; depth < MAX_CAUSES && next != null; depth++) {
      text.append(depth == 0 ? "" : "caused by ").append(next).append('\n');
      for (StackTraceElement frame : next.getStackTrace()) {
        text.append("    at ").append(frame).append('\n');
      }
      next = next.getCause();
    }
    return text.toString();
  }
}
