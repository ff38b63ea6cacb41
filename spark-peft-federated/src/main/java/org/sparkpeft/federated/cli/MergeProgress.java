package org.sparkpeft.federated.cli;

import java.io.PrintStream;
import java.util.Locale;
import org.sparkpeft.merge.spark.MergeListener;

/** One line that is redrawn on a terminal, and nothing elsewhere. */
final class MergeProgress implements MergeListener {
  private final boolean live;
  private final PrintStream out;
  private boolean drawn;

  private MergeProgress(boolean live, PrintStream out) {
    this.live = live;
    this.out = out;
  }

  static MergeProgress on(Shell shell, boolean quiet) {
    String wish = shell.variables().getOrDefault("SPARK_PEFT_PROGRESS", "auto");
    return new MergeProgress(!quiet && wish.equals("always"), shell.progress());
  }

  @Override
  public void progress(String phase, long done, long total) {
    if (live) {
      out.print(
          String.format(
              Locale.ROOT,
              "\r\u001b[K%s %s of %s",
              phase,
              ProgressBar.bytes(done),
              ProgressBar.bytes(total)));
      out.flush();
      drawn = true;
    }
  }

  void close() {
    if (drawn) {
      out.println();
      out.flush();
    }
  }
}
