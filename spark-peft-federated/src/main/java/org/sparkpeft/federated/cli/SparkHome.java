package org.sparkpeft.federated.cli;

import java.io.File;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * A folder that Spark takes for its installation: {@code jars/} holds links to every jar of a class
 * path, so that executor processes find Spark and this project alike.
 *
 * @param folder the installation
 * @param classFolders folders of classes on the same class path, which cannot be linked as jars
 */
record SparkHome(Path folder, List<Path> classFolders) {
  SparkHome {
    classFolders = List.copyOf(classFolders);
  }

  /** The installation that {@code SPARK_HOME} names, if it is one. */
  static Optional<SparkHome> of(Map<String, String> variables) {
    String home = variables.getOrDefault("SPARK_HOME", "");
    return home.isEmpty() || !Files.isDirectory(Path.of(home, "jars"))
        ? Optional.empty()
        : Optional.of(new SparkHome(Path.of(home).toAbsolutePath(), List.of()));
  }

  /**
   * Makes {@code folder} an installation with exactly the jars of {@code classPath}. Links that are
   * right already are left alone, so that two processes may do this at once.
   */
  static SparkHome prepare(Path folder, String classPath) {
    Map<String, Path> jars = new TreeMap<>();
    List<Path> classFolders = new ArrayList<>();
    for (String entry : classPath.split(File.pathSeparator, -1)) {
      Path path = Path.of(entry).toAbsolutePath().normalize();
      if (Files.isDirectory(path)) {
        classFolders.add(path);
      } else if (entry.endsWith(".jar") && Files.isRegularFile(path)) {
        jars.putIfAbsent(path.getFileName().toString(), path);
      }
    }
    try {
      link(Files.createDirectories(folder.resolve("jars")), jars);
    } catch (IOException e) {
      throw new UncheckedIOException("cannot prepare " + folder + " for executors", e);
    }
    return new SparkHome(folder.toAbsolutePath(), classFolders);
  }

  private static void link(Path folder, Map<String, Path> jars) throws IOException {
    List<Path> present;
    try (Stream<Path> list = Files.list(folder)) {
      present = list.toList();
    }
    for (Path link : present) {
      Path target = jars.get(link.getFileName().toString());
      if (target == null
          || !Files.isSymbolicLink(link)
          || !Files.readSymbolicLink(link).equals(target)) {
        Files.deleteIfExists(link);
      }
    }
    for (Map.Entry<String, Path> jar : jars.entrySet()) {
      Path link = folder.resolve(jar.getKey());
      if (!Files.exists(link)) {
        linkUnlessThere(link, jar.getValue());
      }
    }
  }

  private static void linkUnlessThere(Path link, Path jar) throws IOException {
    try {
      Files.createSymbolicLink(link, jar);
    } catch (FileAlreadyExistsException e) {
      // Another process was faster; it links the same jars.
      return;
    }
  }

  /** What executors need on their class path, absolute. */
  String classPath() {
    return Stream.concat(classFolders.stream().map(Path::toString), Stream.of(folder + "/jars/*"))
        .collect(Collectors.joining(File.pathSeparator));
  }
}
