package org.sparkpeft.federated.cli;

import java.io.PrintStream;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.function.LongSupplier;
import org.sparkpeft.federated.round.RunEvent;
import org.sparkpeft.federated.round.RunListener;

/**
 * Shows a run while it goes. On a terminal one line is redrawn; elsewhere each round gets one plain
 * line, held back until its evaluation is known or the next round begins.
 */
final class ProgressBar implements RunListener, AutoCloseable {
  enum Mode {
    LIVE,
    LINES,
    QUIET
  }

  private static final String ERASE_LINE = "\r\u001b[K";

  private final Mode mode;
  private final PrintStream out;
  private final int width;
  private final LongSupplier nanoTime;

  private int rounds;
  private int firstRound = 1;
  private int round;
  private int clients;
  private int clientsDone;
  private double lossSum;
  private long lossExamples;
  private long bytes;
  private long startNanos;
  private String score = "";
  private int scoredRound;
  private Optional<RunEvent.RoundFinished> held = Optional.empty();

  ProgressBar(Mode mode, PrintStream out, int width, LongSupplier nanoTime) {
    this.mode = mode;
    this.out = out;
    this.width = width;
    this.nanoTime = nanoTime;
  }

  /**
   * As {@code SPARK_PEFT_PROGRESS} says: {@code always}, {@code never} or {@code auto}, which draws
   * on a terminal only.
   */
  static ProgressBar on(Shell shell, boolean quiet) {
    String wish = shell.variables().getOrDefault("SPARK_PEFT_PROGRESS", "auto");
    boolean live = wish.equals("always") || (wish.equals("auto") && hasTerminal());
    Mode mode = quiet ? Mode.QUIET : live ? Mode.LIVE : Mode.LINES;
    String columns = shell.variables().getOrDefault("COLUMNS", "");
    int width = columns.matches("[1-9]\\d{1,3}") ? Integer.parseInt(columns) : 100;
    return new ProgressBar(mode, shell.progress(), width, System::nanoTime);
  }

  // Java 17 can only tell whether input and output both are a terminal. The launcher, which can
  // look
  // at standard error alone, says always.
  @SuppressWarnings("SystemConsoleNull")
  private static boolean hasTerminal() {
    return System.console() != null;
  }

  // Spark's listener threads and the driver's loop may both report.
  @Override
  public synchronized void on(RunEvent event) {
    if (mode == Mode.QUIET) {
      return;
    }
    if (event instanceof RunEvent.RunStarted started) {
      start(started);
    } else if (event instanceof RunEvent.RoundStarted started) {
      release();
      round = started.round();
      clients = started.cohort().size();
      clientsDone = 0;
      lossSum = 0;
      lossExamples = 0;
    } else if (event instanceof RunEvent.RoundProgress progress) {
      clientsDone = progress.clientsDone();
      clients = progress.clients();
    } else if (event instanceof RunEvent.ClientReport report) {
      report(report);
    } else if (event instanceof RunEvent.RoundFinished finished) {
      bytes += finished.uplinkBytes() + finished.downlinkBytes();
      held = Optional.of(finished);
    } else if (event instanceof RunEvent.Evaluated evaluated) {
      evaluated(evaluated);
    } else if (event instanceof RunEvent.RunFinished) {
      release();
      return;
    }
    redraw();
  }

  private void start(RunEvent.RunStarted started) {
    rounds = started.rounds();
    firstRound = started.resumedFrom() + 1;
    round = started.resumedFrom();
    startNanos = nanoTime.getAsLong();
    line(
        "%s: %,d clients, %,d trainable parameters on %,d frozen, %d rounds%s",
        started.name(),
        started.clientLabelCounts().size(),
        started.trainableParameters(),
        started.baseParameters(),
        rounds,
        started.resumedFrom() > 0 ? ", resumed after round " + started.resumedFrom() : "");
  }

  private void report(RunEvent.ClientReport report) {
    if (report.status().equals("ok")) {
      if (Double.isFinite(report.loss())) {
        lossSum += report.loss() * report.numExamples();
        lossExamples += report.numExamples();
      }
    } else {
      line(
          "round %d: client %s %s%s",
          report.round(),
          report.clientId(),
          report.status(),
          report.error().isEmpty() ? "" : ": " + report.error());
    }
  }

  private void evaluated(RunEvent.Evaluated evaluated) {
    String shown = score(evaluated);
    if (!evaluated.what().equals("round")) {
      release();
      line("%s: %s", evaluated.what().replace('_', ' '), shown);
      return;
    }
    score = shown;
    scoredRound = evaluated.round();
    if (held.isPresent() && held.get().round() == evaluated.round()) {
      release();
    }
  }

  private static String score(RunEvent.Evaluated evaluated) {
    List<String> shown = new ArrayList<>();
    evaluated
        .metrics()
        .forEach((name, value) -> shown.add(name + String.format(Locale.ROOT, " %.4f", value)));
    return String.join(", ", shown);
  }

  /** Prints the plain line of the round that was held back, if there is one. */
  private void release() {
    if (held.isEmpty()) {
      return;
    }
    RunEvent.RoundFinished finished = held.get();
    held = Optional.empty();
    if (mode == Mode.LINES) {
      line(
          "round %d/%d: %d of %d clients, loss %.4f%s, %s, %.1f s%s",
          finished.round(),
          rounds,
          finished.clientsOk(),
          finished.clientsOk() + finished.clientsFailed(),
          finished.trainLoss(),
          scoredRound == finished.round() ? ", " + score : "",
          bytes(bytes),
          finished.seconds(),
          eta(finished.round()));
    }
  }

  private void redraw() {
    if (mode != Mode.LIVE || round == 0) {
      return;
    }
    boolean done = held.isPresent();
    String text =
        String.format(
            Locale.ROOT,
            "round %d/%d  clients %d/%d%s%s  %s%s",
            round,
            rounds,
            done ? clients : clientsDone,
            clients,
            lossExamples > 0
                ? String.format(Locale.ROOT, "  loss %.4f", lossSum / lossExamples)
                : "",
            score.isEmpty() ? "" : "  " + score,
            bytes(bytes),
            eta(done ? round : round - 1));
    // A line that wraps could not be erased.
    out.print(ERASE_LINE + text.substring(0, Math.min(text.length(), width - 1)));
    out.flush();
  }

  private String eta(int roundsComplete) {
    int here = roundsComplete - firstRound + 1;
    int left = rounds - roundsComplete;
    if (here < 1 || left < 1) {
      return "";
    }
    long seconds = (nanoTime.getAsLong() - startNanos) / here * left / 1_000_000_000L;
    return (mode == Mode.LIVE ? "  " : ", ") + "ETA " + duration(seconds);
  }

  /** Whole seconds as people say them. */
  static String duration(long seconds) {
    if (seconds < 60) {
      return seconds + " s";
    }
    if (seconds < 3600) {
      return String.format(Locale.ROOT, "%d min %02d s", seconds / 60, seconds % 60);
    }
    return String.format(Locale.ROOT, "%d h %02d min", seconds / 3600, seconds / 60 % 60);
  }

  /** Bytes in powers of 1000, three digits. */
  static String bytes(long bytes) {
    if (bytes < 1000) {
      return bytes + " B";
    }
    double value = bytes;
    String units = "kMGTP";
    int unit = -1;
    // 999.5 rather than 1000: what would be shown as 1000 moves on to the next unit.
    while (value >= 999.5 && unit < units.length() - 1) {
      value /= 1000;
      unit++;
    }
    int decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
    return String.format(Locale.ROOT, "%." + decimals + "f %sB", value, units.charAt(unit));
  }

  private void line(String format, Object... arguments) {
    if (mode == Mode.LIVE) {
      out.print(ERASE_LINE);
    }
    out.println(String.format(Locale.ROOT, format, arguments));
    out.flush();
  }

  /** Ends the line being drawn, so that what follows starts at a margin. */
  @Override
  public synchronized void close() {
    if (mode == Mode.QUIET) {
      return;
    }
    release();
    if (mode == Mode.LIVE && round > 0) {
      redraw();
      out.println();
      out.flush();
    }
  }
}
