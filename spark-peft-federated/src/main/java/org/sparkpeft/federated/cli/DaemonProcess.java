package org.sparkpeft.federated.cli;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.stream.Stream;

/**
 * A background process that a later command can find again. An id alone does not do, since ids are
 * given out anew; together with the moment of the start it names one process.
 *
 * @param name what it is, and the name of its files
 * @param pid process id
 * @param started when it was started, as the operating system tells
 */
record DaemonProcess(String name, long pid, Instant started) {
  private static final String SUFFIX = ".pid";
  private static final int GRACE_SECONDS = 10;

  static DaemonProcess started(String name, Process process) {
    Instant moment = process.info().startInstant().orElse(Instant.EPOCH);
    return new DaemonProcess(name, process.pid(), moment);
  }

  void write(Path folder) throws IOException {
    Files.writeString(folder.resolve(name + SUFFIX), pid + "\n" + started + "\n");
  }

  void forget(Path folder) {
    try {
      Files.deleteIfExists(folder.resolve(name + SUFFIX));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** Every process noted in {@code folder}, sorted by name; files that are no notes are ignored. */
  static List<DaemonProcess> readAll(Path folder) {
    List<DaemonProcess> processes = new ArrayList<>();
    try (Stream<Path> files = Files.list(folder)) {
      for (Path file : files.sorted().toList()) {
        String name = file.getFileName().toString();
        if (name.endsWith(SUFFIX)) {
          List<String> lines = Files.readAllLines(file);
          if (lines.size() == 2 && lines.get(0).matches("\\d{1,10}")) {
            processes.add(
                new DaemonProcess(
                    name.substring(0, name.length() - SUFFIX.length()),
                    Long.parseLong(lines.get(0)),
                    Instant.parse(lines.get(1))));
          }
        }
      }
    } catch (NoSuchFileException e) {
      return List.of();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return processes;
  }

  /** The process, if it still runs and is still the one that was started. */
  Optional<ProcessHandle> handle() {
    return ProcessHandle.of(pid)
        .filter(ProcessHandle::isAlive)
        .filter(handle -> handle.info().startInstant().filter(started::equals).isPresent());
  }

  /**
   * Ends the process, at first politely.
   *
   * @return whether there was one to end
   */
  boolean end() {
    Optional<ProcessHandle> found = handle();
    if (found.isEmpty()) {
      return false;
    }
    ProcessHandle process = found.get();
    process.destroy();
    try {
      process.onExit().get(GRACE_SECONDS, TimeUnit.SECONDS);
    } catch (TimeoutException | ExecutionException e) {
      process.destroyForcibly();
    } catch (InterruptedException e) {
      process.destroyForcibly();
      Thread.currentThread().interrupt();
    }
    return true;
  }
}
