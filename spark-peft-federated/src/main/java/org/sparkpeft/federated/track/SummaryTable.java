package org.sparkpeft.federated.track;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.SortedMap;
import org.jspecify.annotations.Nullable;

/** The short table printed at the end of a run, at most 80 columns wide, from its summary alone. */
public final class SummaryTable {
  private static final String BOLD = "\u001b[1m";
  private static final String PLAIN = "\u001b[0m";
  private static final int WIDTH = 80;
  private static final int LABEL = 26;
  private static final int VALUE = 14;

  private final SortedMap<String, Object> summary;
  private final boolean colour;
  private final StringBuilder out = new StringBuilder();

  private SummaryTable(SortedMap<String, Object> summary, boolean colour) {
    this.summary = summary;
    this.colour = colour;
  }

  /** The table without colour; lines end with {@code \n}. */
  public static String of(SortedMap<String, Object> summary) {
    return of(summary, false);
  }

  /**
   * @param colour whether headings are set in bold with ANSI escapes
   */
  public static String of(SortedMap<String, Object> summary, boolean colour) {
    SummaryTable table = new SummaryTable(summary, colour);
    table.addTitle();
    table.addQuality();
    table.addTraffic();
    table.addTime();
    table.addLosses();
    return table.out.toString();
  }

  private void addTitle() {
    heading(text("name", "run"));
    line(
        "  "
            + Text.count(integer("rounds"), "round")
            + ", "
            + Text.count(integer("clients"), "client")
            + ", seed "
            + text("seed", "?")
            + "; "
            + Text.amount(integer("trainable_parameters"))
            + " of "
            + Text.amount(integer("trainable_parameters") + integer("base_parameters"))
            + " parameters trained");
  }

  private void addQuality() {
    List<String> metrics =
        summary.keySet().stream()
            .filter(key -> key.startsWith("final."))
            .map(key -> key.substring("final.".length()))
            .toList();
    String metric = Metric.primary(metrics).orElse("accuracy");
    heading(Metric.title(metric) + " on the test data");
    quality("untrained head", "baseline", metric, "");
    quality("head only", "head_only", metric, "");
    quality("federated", "final", metric, others(metrics, metric));
    quality("central training", "central", metric, "");
    if (summary.containsKey("client.accuracy.median")) {
      row(
          "clients, lowest",
          Text.percent(number("client.accuracy.min")),
          "9 in 10 reach " + Text.percent(number("client.accuracy.p10")));
      row(
          "clients, median",
          Text.percent(number("client.accuracy.median")),
          "highest " + Text.percent(number("client.accuracy.max")));
    }
  }

  private String others(List<String> metrics, String primary) {
    List<String> parts = new ArrayList<>();
    for (String metric : List.of("macro_f1", "loss")) {
      if (!metric.equals(primary) && metrics.contains(metric)) {
        String name =
            metric.equals("loss") ? "loss" : Metric.title(metric).replace("Macro", "macro");
        parts.add(name + " " + Metric.show(metric, number("final." + metric)));
      }
    }
    return String.join(", ", parts);
  }

  private void quality(String label, String what, String metric, String note) {
    String key = what + "." + metric;
    if (summary.containsKey(key)) {
      row(label, Metric.show(metric, number(key)), note);
    }
  }

  private void addTraffic() {
    heading(
        String.format(Locale.ROOT, "%-43s%16s%14s", "Traffic", "bits/parameter", "against fp16"));
    double efficiency = number("uplink.efficiency");
    traffic(
        "clients to server",
        number("uplink.bytes"),
        number("uplink.bits_per_parameter"),
        number("uplink.ratio_vs_fp16"));
    traffic(
        "  their entropy bound",
        number("uplink.bytes") * efficiency,
        number("uplink.entropy_bound_bits_per_parameter"),
        number("uplink.ratio_vs_fp16") / efficiency);
    traffic(
        "server to clients",
        number("downlink.bytes"),
        number("downlink.bits_per_parameter"),
        number("downlink.ratio_vs_fp16"));
  }

  private void traffic(String label, double bytes, double bits, double ratio) {
    if (Double.isFinite(bytes)) {
      String against = Double.isFinite(ratio) ? Text.decimal(ratio, 1) + "x less" : "";
      String each = Double.isFinite(bits) ? Text.decimal(bits, 3) : "";
      row(label, Text.bytes(bytes), String.format(Locale.ROOT, "%12s%14s", each, against));
    }
  }

  private void addTime() {
    double total = number("seconds.total");
    heading("Time");
    time("training", number("seconds.train"), total);
    time("aggregation", number("seconds.aggregate"), total);
    time(
        "other Spark work",
        Math.max(0, number("seconds.spark") - number("seconds.aggregate")),
        total);
    time("evaluation", number("seconds.evaluate"), total);
    row("total", Text.seconds(total), "");
    row("codec, summed over clients", Text.seconds(number("seconds.codec")), "");
  }

  private void time(String label, double seconds, double total) {
    row(
        label,
        Text.seconds(seconds),
        total > 0 ? String.format(Locale.ROOT, "%6s", Text.percent(seconds / total)) : "");
  }

  private void addLosses() {
    long failed = integer("clients.failed");
    long dropped = integer("clients.dropped");
    long late = integer("clients.late");
    if (failed + dropped + late > 0) {
      heading("Updates lost");
      row("failed / dropped / late", failed + " / " + dropped + " / " + late, "");
    }
  }

  private void heading(String text) {
    if (!out.isEmpty() && !text.equals(summary.get("name"))) {
      out.append('\n');
    }
    String shown = Text.cut(printable(text), WIDTH);
    out.append(colour ? BOLD + shown + PLAIN : shown).append('\n');
  }

  private void row(String label, String value, String note) {
    line(
        String.format(Locale.ROOT, "  %-" + LABEL + "s %" + VALUE + "s  %s", label, value, note)
            .stripTrailing());
  }

  private void line(String text) {
    out.append(Text.cut(text, WIDTH)).append('\n');
  }

  /** A name may hold anything; a terminal obeys control characters. */
  private static String printable(String text) {
    return text.replaceAll("\\p{Cntrl}", "?");
  }

  private String text(String key, String otherwise) {
    return printable(String.valueOf(summary.getOrDefault(key, otherwise)));
  }

  private double number(String key) {
    @Nullable Object value = summary.get(key);
    return value instanceof Number number ? number.doubleValue() : Double.NaN;
  }

  private long integer(String key) {
    @Nullable Object value = summary.get(key);
    return value instanceof Number number ? number.longValue() : 0;
  }
}
