package org.sparkpeft.federated.cli;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import org.sparkpeft.core.error.Problems;
import picocli.CommandLine.Option;

@picocli.CommandLine.Command(
    name = "bench",
    description = "Measure the speed of merging and compressing on this machine.",
    subcommands = {BenchCommand.Merge.class, BenchCommand.Codecs.class})
final class BenchCommand {

  /** What the numbers were measured on. */
  static Map<String, Object> machine() {
    Map<String, Object> machine = new TreeMap<>();
    machine.put("cpu", cpu());
    machine.put("processors", Runtime.getRuntime().availableProcessors());
    machine.put("max_heap_mb", Runtime.getRuntime().maxMemory() >> 20);
    machine.put("java", System.getProperty("java.version", ""));
    double load =
        java.lang.management.ManagementFactory.getOperatingSystemMXBean().getSystemLoadAverage();
    machine.put("load_average", Math.round(load * 100) / 100.0);
    return machine;
  }

  private static String cpu() {
    try (var lines = java.nio.file.Files.lines(Path.of("/proc/cpuinfo"))) {
      return lines
          .filter(line -> line.startsWith("model name"))
          .map(line -> line.substring(line.indexOf(':') + 1).strip())
          .findFirst()
          .orElse(System.getProperty("os.arch", ""));
    } catch (java.io.IOException e) {
      return System.getProperty("os.arch", "");
    }
  }

  private static Outcome table(List<String> columns, List<Map<String, Object>> rows) {
    Map<String, Object> machine = machine();
    StringBuilder text = new StringBuilder();
    machine.forEach((key, value) -> text.append(key).append(": ").append(value).append("  "));
    List<List<String>> cells = new ArrayList<>();
    cells.add(columns);
    for (Map<String, Object> row : rows) {
      cells.add(columns.stream().map(column -> shown(row.get(column))).toList());
    }
    for (List<String> row : cells) {
      text.append('\n');
      for (int c = 0; c < columns.size(); c++) {
        int column = c;
        int width = cells.stream().mapToInt(r -> r.get(column).length()).max().orElse(0);
        text.append(("%-" + width + "s  ").formatted(row.get(c)));
      }
    }
    return Outcome.of(text.toString(), Map.of("machine", machine, "rows", rows));
  }

  private static String shown(@org.jspecify.annotations.Nullable Object value) {
    if (value instanceof Double number) {
      return String.format(Locale.ROOT, "%.3f", number);
    }
    return value == null ? "-" : String.valueOf(value);
  }

  @picocli.CommandLine.Command(
      name = "merge",
      description = "Each method on vectors in memory, against a plain copy of the same bytes.")
  static final class Merge implements Command {
    @Option(
        names = "--entries",
        defaultValue = "8000000",
        description = "Entries of each vector (default: ${DEFAULT-VALUE}).")
    private int entries;

    @Option(
        names = "--vectors",
        defaultValue = "3",
        description = "Number of vectors (default: ${DEFAULT-VALUE}).")
    private int vectors;

    @Override
    public Outcome run(Context context) {
      new Problems()
          .require(
              entries >= 1000 && entries <= 100_000_000, "--entries", entries, "must be 1000..1e8")
          .require(vectors >= 2 && vectors <= 16, "--vectors", vectors, "must be 2..16")
          .throwIfAny();
      return table(MergeBench.COLUMNS, MergeBench.run(vectors, entries));
    }
  }

  @picocli.CommandLine.Command(
      name = "codec",
      description = "Size and speed of payloads on one core, against general compressors.")
  static final class Codecs implements Command {
    @Option(
        names = "--entries",
        defaultValue = "4000000",
        description = "Entries of each synthetic vector (default: ${DEFAULT-VALUE}).")
    private int entries;

    @Option(
        names = "--adapter",
        paramLabel = "DIR",
        description = "Also measure this adapter's values.")
    private String adapter = "";

    @Option(
        names = "--densities",
        split = ",",
        defaultValue = "0.001,0.005,0.05,0.2,0.5",
        description = "Fractions kept (default: ${DEFAULT-VALUE}).")
    private List<Double> densities = new ArrayList<>();

    @Override
    public Outcome run(Context context) {
      Problems problems = new Problems();
      problems.require(
          entries >= 1000 && entries <= 100_000_000, "--entries", entries, "must be 1000..1e8");
      for (double density : densities) {
        problems.require(density > 0 && density <= 1, "--densities", density, "must be in (0, 1]");
      }
      problems.throwIfAny();
      Optional<Path> directory =
          adapter.isEmpty()
              ? Optional.empty()
              : Optional.of(context.shell().directory().resolve(adapter));
      return table(CodecBench.COLUMNS, CodecBench.run(entries, densities, directory));
    }
  }
}
