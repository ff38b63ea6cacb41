package org.sparkpeft.federated.cli;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;

/** Rows of measurements under the machine they were made on. */
final class Table {
  private Table() {}

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

  static Outcome of(List<String> columns, List<Map<String, Object>> rows) {
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

  /** The same with lines below that say what the columns mean. */
  static Outcome of(List<String> columns, List<Map<String, Object>> rows, List<String> notes) {
    Outcome table = of(columns, rows);
    return new Outcome(table.message() + "\n" + String.join("\n", notes), table.data());
  }

  private static String shown(@org.jspecify.annotations.Nullable Object value) {
    if (value instanceof Double number) {
      return String.format(Locale.ROOT, "%.3f", number);
    }
    return value == null ? "-" : String.valueOf(value);
  }
}
