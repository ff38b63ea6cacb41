package org.sparkpeft.federated.track;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.SortedMap;
import java.util.SortedSet;
import java.util.TreeMap;
import java.util.TreeSet;
import org.sparkpeft.federated.round.RunEvent.ClientEvaluated;
import org.sparkpeft.federated.round.RunEvent.ClientReport;

/** The parts of the report about clients: how well each is served, who failed, and the numbers. */
final class ClientSections {
  private static final int MIN_FOR_SPREAD = 3;
  private static final int MAX_FAILURES = 100;
  private static final int MAX_CLIENTS = 200;
  private static final int MAX_ERROR = 300;

  private final RunView run;

  ClientSections(RunView run) {
    this.run = run;
  }

  /** Histograms over clients; nothing for a handful of clients, whom the table shows better. */
  void writeSpread(Html html) {
    List<Double> accuracies = run.clientAccuracies();
    if (accuracies.size() >= MIN_FOR_SPREAD) {
      String caption =
          "How many clients reach at least which accuracy (%), and not the next bar's, on their own "
              + splitName()
              + " examples. Half of them reach "
              + Text.percent(RunView.quantile(accuracies, 0.5))
              + ", nine in ten "
              + Text.percent(RunView.quantile(accuracies, 0.1))
              + ".";
      Histogram histogram = Histogram.of(accuracies, 0.01);
      List<String> edges = histogram.categories(ClientSections::hundredths);
      writeHistogram(html, "spread", "Accuracy across clients", caption, edges, histogram);
    }
    List<Double> sizes = sizes();
    if (sizes.size() >= MIN_FOR_SPREAD) {
      double sum = sizes.stream().mapToDouble(Double::doubleValue).sum();
      String caption =
          "How many clients hold at least so many training examples, and fewer than the next bar's."
              + " Together they hold "
              + Text.count(Math.round(sum))
              + "; the smallest has "
              + Text.count(Math.round(sizes.get(0)))
              + ", the largest "
              + Text.count(Math.round(sizes.get(sizes.size() - 1)))
              + ".";
      Histogram histogram = Histogram.of(sizes, 1);
      List<String> edges = histogram.categories(edge -> Text.count(Math.round(edge)));
      writeHistogram(html, "sizes", "Data across clients", caption, edges, histogram);
    }
  }

  private static void writeHistogram(
      Html html, String id, String title, String caption, List<String> edges, Histogram histogram) {
    List<BarChart.Part> parts =
        List.of(new BarChart.Part("clients", Ink.FIRST, histogram.counts()));
    BarChart chart = new BarChart(edges, parts, ClientSections::whole);
    Figure.ofBars(title, caption, parts).write(html, () -> chart.draw(id, title));
  }

  /** Examples of each client, ascending. */
  private List<Double> sizes() {
    return run.started().stream()
        .flatMap(started -> started.clientLabelCounts().values().stream())
        .map(counts -> (double) counts.stream().mapToLong(Long::longValue).sum())
        .sorted()
        .toList();
  }

  private static String hundredths(double fraction) {
    return Text.count(Math.round(100 * fraction));
  }

  private static String whole(double value) {
    return value == Math.rint(value) ? Text.count((long) value) : " ";
  }

  private String splitName() {
    boolean train = run.clients().values().stream().anyMatch(c -> c.split().equals("train"));
    return train ? "training" : "test";
  }

  /** Client parts that gave no update; nothing when all did. */
  void writeFailures(Html html) {
    List<ClientReport> failures =
        run.reports().stream().filter(report -> !report.status().equals("ok")).toList();
    if (failures.isEmpty()) {
      return;
    }
    html.open("section").element("h2", "Updates lost").open("div", "class", "card");
    html.element(
        "p",
        "In "
            + Text.count(failures.size())
            + " of "
            + Text.count(run.reports().size(), "case")
            + " a client drawn for a round gave no update: "
            + Text.count(run.countOf("failed"))
            + " failed with an error, "
            + Text.count(run.countOf("dropped"))
            + " sent values that are malformed or not finite, "
            + Text.count(run.countOf("late"))
            + " came too late. The rounds went on without them.",
        "class",
        "note");
    Table table =
        new Table("Client", "Round", "What", "Error", "Where", "Host", "Attempt").ofWords();
    for (ClientReport report : failures.subList(0, Math.min(MAX_FAILURES, failures.size()))) {
      table.row(
          report.clientId(),
          Text.count(report.round()),
          report.status(),
          Text.cut(report.error(), MAX_ERROR),
          Text.cut(report.frame(), MAX_ERROR),
          report.host(),
          Text.count(report.attempt() + 1L));
    }
    table.write(html);
    writeRest(html, failures.size(), MAX_FAILURES, "The first " + MAX_FAILURES + " are shown");
    html.close().close();
  }

  /** One row for each client, the least well served first. */
  void writeTable(Html html) {
    SortedSet<String> ids = new TreeSet<>(run.clients().keySet());
    run.started().ifPresent(started -> ids.addAll(started.clientLabelCounts().keySet()));
    SortedMap<String, List<ClientReport>> reports = new TreeMap<>();
    for (ClientReport report : run.reports()) {
      reports.computeIfAbsent(report.clientId(), id -> new ArrayList<>()).add(report);
    }
    ids.addAll(reports.keySet());
    List<String> order = new ArrayList<>(ids);
    order.sort(Comparator.comparingDouble(this::accuracyOrLast));
    Table table =
        new Table("Client", "Accuracy", "Examples", "Rounds taken part in", "Lost", "Mean loss");
    for (String id : order.subList(0, Math.min(MAX_CLIENTS, order.size()))) {
      List<ClientReport> parts = reports.getOrDefault(id, List.of());
      List<ClientReport> ok = parts.stream().filter(p -> p.status().equals("ok")).toList();
      ClientEvaluated evaluated = run.clients().get(id);
      table.row(
          id,
          evaluated == null ? "–" : Text.percent(evaluated.accuracy()),
          examples(id),
          Text.count(ok.size()),
          Text.count(parts.size() - ok.size()),
          Text.decimal(meanLoss(ok), 4));
    }
    html.open("details", "class", "card").element("summary", "Numbers of each client");
    table.write(html);
    writeRest(html, order.size(), MAX_CLIENTS, "The " + MAX_CLIENTS + " least accurate are shown");
    html.close();
  }

  private double accuracyOrLast(String id) {
    ClientEvaluated evaluated = run.clients().get(id);
    return evaluated == null || !Double.isFinite(evaluated.accuracy())
        ? Double.POSITIVE_INFINITY
        : evaluated.accuracy();
  }

  private String examples(String id) {
    return run.started()
        .map(started -> started.clientLabelCounts().get(id))
        .map(counts -> Text.count(counts.stream().mapToLong(Long::longValue).sum()))
        .orElse("–");
  }

  private static double meanLoss(List<ClientReport> parts) {
    return parts.stream()
        .mapToDouble(ClientReport::loss)
        .filter(Double::isFinite)
        .average()
        .orElse(Double.NaN);
  }

  private static void writeRest(Html html, int all, int shown, String what) {
    if (all > shown) {
      html.element(
          "p",
          what + "; " + EventLog.FILE_NAME + " has all " + Text.count(all) + ".",
          "class",
          "note");
    }
  }
}
