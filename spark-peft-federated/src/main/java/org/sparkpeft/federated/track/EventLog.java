package org.sparkpeft.federated.track;

import com.fasterxml.jackson.core.JsonProcessingException;
import java.io.BufferedInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Clock;
import java.time.temporal.ChronoUnit;
import java.util.Arrays;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.federated.round.RunEvent;
import org.sparkpeft.federated.round.RunListener;

/**
 * The append-only event log of a run, {@value #FILE_NAME}: one JSON object a line, with {@code
 * event} (for example {@code round_finished}), {@code time} (ISO-8601, UTC) and the event's fields
 * in snake_case. Each event is handed to the operating system before {@link #on} returns; the end
 * of a round and of the run are also forced to disk. May be called from several threads.
 */
public final class EventLog implements RunListener, AutoCloseable {
  public static final String FILE_NAME = "events.jsonl";

  /** Longest line written or read, in bytes: the label counts of some hundred thousand clients. */
  static final int MAX_LINE_BYTES = 128 << 20;

  private static final int BLOCK = 8 << 10;

  private final Path file;
  private final Clock clock;
  private final FileChannel channel;

  private EventLog(Path file, Clock clock, FileChannel channel) {
    this.file = file;
    this.clock = clock;
    this.channel = channel;
  }

  /**
   * Opens the log of a run for appending, creating the directory and the file where missing. If the
   * last line was torn by a crash, that part of a line is cut off first.
   *
   * @param clock source of the {@code time} fields
   * @throws UncheckedIOException if it cannot be opened
   */
  public static EventLog open(Path runDirectory, Clock clock) {
    Path file = runDirectory.resolve(FILE_NAME);
    try {
      Files.createDirectories(runDirectory);
      FileChannel channel =
          FileChannel.open(
              file, StandardOpenOption.CREATE, StandardOpenOption.READ, StandardOpenOption.WRITE);
      try {
        long end = endOfLastLine(channel);
        channel.truncate(end).position(end);
        return new EventLog(file, clock, channel);
      } catch (IOException | RuntimeException e) {
        channel.close();
        throw e;
      }
    } catch (IOException e) {
      throw new UncheckedIOException("cannot open the event log " + file, e);
    }
  }

  /**
   * Appends one event.
   *
   * @throws UncheckedIOException if it cannot be written; the log then ends with the event before
   * @throws DataException if the event does not fit a line
   */
  @Override
  public synchronized void on(RunEvent event) {
    byte[] json = EventJson.write(event, clock.instant().truncatedTo(ChronoUnit.MILLIS));
    if (json.length > MAX_LINE_BYTES) {
      throw new DataException(
          "an event of "
              + json.length
              + " bytes does not fit a line of "
              + file
              + " (at most "
              + MAX_LINE_BYTES
              + " bytes); use fewer clients or labels");
    }
    byte[] line = Arrays.copyOf(json, json.length + 1);
    line[json.length] = '\n';
    try {
      append(line);
      if (event instanceof RunEvent.RoundFinished || event instanceof RunEvent.RunFinished) {
        channel.force(false);
      }
    } catch (IOException e) {
      throw new UncheckedIOException(
          "cannot write to the event log " + file + "; check the free space", e);
    }
  }

  private void append(byte[] line) throws IOException {
    long start = channel.position();
    try {
      ByteBuffer rest = ByteBuffer.wrap(line);
      while (rest.hasRemaining()) {
        channel.write(rest);
      }
    } catch (IOException e) {
      try {
        channel.truncate(start);
      } catch (IOException second) {
        e.addSuppressed(second);
      }
      throw e;
    }
  }

  @Override
  public synchronized void close() {
    try {
      channel.close();
    } catch (IOException e) {
      throw new UncheckedIOException("cannot close the event log " + file, e);
    }
  }

  /**
   * Reads a log back. A last line without an end was torn by a crash, or is being written; it is
   * left out. Lines of unknown kind are skipped and counted.
   *
   * <p>A run that went on from a checkpoint did some rounds twice. Each round counts as it was last
   * done: a {@code run_started} that resumed from round n annuls all earlier events of rounds after
   * n, all earlier final evaluations (of the whole and of single clients) and earlier {@code
   * run_finished} and {@code run_started}, and takes the first place of the list; a {@code
   * round_started} annuls all earlier events of that and later rounds; an evaluation annuls an
   * earlier one of the same thing.
   *
   * @param file the log, usually {@value #FILE_NAME} of a run directory
   * @throws DataException if there is no such file
   * @throws FormatException if a line is too long or not an event, with path and line number
   * @throws UncheckedIOException if it cannot be read
   */
  public static EventHistory read(Path file) {
    if (!Files.isRegularFile(file)) {
      throw new DataException(
          "there is no event log " + file + "; name a directory in which a run was started");
    }
    try (InputStream in = new BufferedInputStream(Files.newInputStream(file), BLOCK)) {
      return read(in, file, MAX_LINE_BYTES);
    } catch (IOException e) {
      throw new UncheckedIOException("cannot read the event log " + file, e);
    }
  }

  static EventHistory read(InputStream in, Path file, int maxLineBytes) throws IOException {
    LastOccurrences last = new LastOccurrences();
    ByteArrayOutputStream line = new ByteArrayOutputStream();
    int unknown = 0;
    int number = 1;
    for (int b = in.read(); b >= 0; b = in.read()) {
      if (b != '\n') {
        if (line.size() == maxLineBytes) {
          throw new FormatException(
              place(file, number),
              "longer than the " + maxLineBytes + " bytes allowed; is it an event log?");
        }
        line.write(b);
        continue;
      }
      EventJson.Line parsed = parse(line.toByteArray(), file, number);
      if (parsed.event().isPresent()) {
        last.add(parsed.event().get(), parsed.time());
      } else {
        unknown++;
      }
      line.reset();
      number++;
    }
    return last.history(unknown);
  }

  private static EventJson.Line parse(byte[] line, Path file, int number) {
    try {
      return EventJson.read(line);
    } catch (JsonProcessingException e) {
      throw malformed(file, number, e.getOriginalMessage(), e);
    } catch (IOException e) {
      throw malformed(file, number, String.valueOf(e.getMessage()), e);
    }
  }

  private static FormatException malformed(Path file, int line, String reason, IOException cause) {
    return new FormatException(
        place(file, line), "not an event: " + reason + "; restore or remove the line", cause);
  }

  private static String place(Path file, int line) {
    return file + ":" + line;
  }

  /** Size of the file without a torn last line. */
  private static long endOfLastLine(FileChannel channel) throws IOException {
    ByteBuffer block = ByteBuffer.allocate(BLOCK);
    long end = channel.size();
    while (end > 0) {
      long start = Math.max(0, end - BLOCK);
      block.clear().limit((int) (end - start));
      while (block.hasRemaining() && channel.read(block, start + block.position()) >= 0) {}
      for (int i = block.position() - 1; i >= 0; i--) {
        if (block.get(i) == '\n') {
          return start + i + 1;
        }
      }
      end = start;
    }
    return 0;
  }
}
