package org.sparkpeft.federated.server;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.Stream;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.sparkpeft.core.error.ConfigException;

/**
 * What a run leaves behind and where: {@code config.yaml}, {@code events.jsonl}, {@code
 * summary.json}, {@code report.html}, {@code checkpoints/}, {@code clients/}, {@code adapter/} and
 * {@code merged/}.
 *
 * @param path the run's folder on a file system that the driver reaches as local paths
 */
public record RunFolder(Path path) {
  private static final Logger LOG = LoggerFactory.getLogger(RunFolder.class);

  /**
   * The folder of a new run, created if missing.
   *
   * @throws ConfigException if a run is in it already, or it cannot be created
   */
  public static RunFolder create(Path path) {
    RunFolder folder = new RunFolder(path);
    if (Files.exists(folder.config())) {
      throw new ConfigException(
          "run.dir",
          path
              + " already holds a run; go on with it by --resume, or choose another folder by --set run.dir=PATH");
    }
    try {
      Files.createDirectories(path);
    } catch (IOException e) {
      throw new ConfigException(
          "run.dir",
          path + " cannot be created: " + e + "; choose another folder by --set run.dir=PATH");
    }
    if (!Files.isWritable(path)) {
      throw new ConfigException(
          "run.dir", path + " cannot be written; choose another folder by --set run.dir=PATH");
    }
    return folder;
  }

  /**
   * Removes what a run left that ended before it began, so that the folder can be used again. Runs
   * after a failure, so a failure of its own is only logged.
   */
  public void removeIfUnused() {
    try {
      if (Files.exists(events()) && Files.size(events()) == 0) {
        Files.delete(events());
      }
      try (Stream<Path> files = Files.list(path)) {
        if (files.findAny().isPresent()) {
          return;
        }
      }
      Files.delete(path);
    } catch (IOException e) {
      LOG.warn("{} cannot be tidied up: {}", path, e.toString());
    }
  }

  /**
   * The folder of a run that exists.
   *
   * @throws ConfigException if there is none
   */
  public static RunFolder existing(Path path) {
    RunFolder folder = new RunFolder(path);
    if (!Files.exists(folder.config())) {
      throw new ConfigException("run.dir", path + " holds no run (there is no config.yaml in it)");
    }
    return folder;
  }

  /** Complete recipe, defaults included. */
  public Path config() {
    return path.resolve("config.yaml");
  }

  public Path events() {
    return path.resolve("events.jsonl");
  }

  public Path summary() {
    return path.resolve("summary.json");
  }

  public Path report() {
    return path.resolve("report.html");
  }

  public Path checkpoints() {
    return path.resolve("checkpoints");
  }

  /** State of the clients, written by executors. */
  public Path clients() {
    return path.resolve("clients");
  }

  /** Result as a Hugging Face PEFT adapter. */
  public Path adapter() {
    return path.resolve("adapter");
  }

  /** Result folded into the base model. */
  public Path merged() {
    return path.resolve("merged");
  }

  /** Bytes free on the folder's file system. */
  public long freeBytes() {
    try {
      return Files.getFileStore(path).getUsableSpace();
    } catch (IOException e) {
      throw new UncheckedIOException(path.toString(), e);
    }
  }
}
