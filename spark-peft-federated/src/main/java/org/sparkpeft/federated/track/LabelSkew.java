package org.sparkpeft.federated.track;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.IntStream;
import org.sparkpeft.federated.round.RunEvent.RunStarted;

/**
 * How unevenly labels are spread over clients: a heat map, clients by labels, as a table. Many
 * labels become the most frequent ones and a column for the rest; of many clients some are shown,
 * evenly spaced from the most even to the most skewed.
 */
final class LabelSkew {
  private static final int MAX_CLIENTS = 40;
  private static final int MAX_LABELS = 24;

  /** With more columns than this, cells are too small for numbers. */
  private static final int MAX_NUMBERED = 10;

  /** Strongest shade, kept below 1 so that the number in a cell stays legible. */
  private static final double STRONGEST = 0.62;

  private final List<String> labels;
  private final List<Row> rows;

  private LabelSkew(List<String> labels, List<Row> rows) {
    this.labels = labels;
    this.rows = rows;
  }

  private record Row(String clientId, List<Long> counts) {
    long total() {
      return counts.stream().mapToLong(Long::longValue).sum();
    }

    double share(int label) {
      return total() == 0 ? 0 : (double) counts.get(label) / total();
    }

    double largestShare() {
      return IntStream.range(0, counts.size()).mapToDouble(this::share).max().orElse(0);
    }
  }

  static LabelSkew of(RunStarted run) {
    List<Row> rows = new ArrayList<>();
    for (Map.Entry<String, List<Long>> client : run.clientLabelCounts().entrySet()) {
      // A client whose counts do not match the labels cannot be placed in the grid.
      if (client.getValue().size() == run.labels().size()) {
        rows.add(new Row(client.getKey(), client.getValue()));
      }
    }
    return new LabelSkew(run.labels(), rows);
  }

  void write(Html html) {
    if (labels.size() < 2 || rows.isEmpty()) {
      return;
    }
    List<Row> bySkew = new ArrayList<>(rows);
    bySkew.sort(Comparator.comparingDouble(Row::largestShare).thenComparing(Row::clientId));
    List<Row> shown = spread(bySkew);
    List<Integer> columns = mostFrequent();
    int others = labels.size() - columns.size();
    html.open("figure", "class", "card wide").open("figcaption");
    html.element("h3", "Labels of each client").element("p", caption(bySkew, shown)).close();
    writeGrid(html, shown, columns, others);
    html.close();
  }

  private String caption(List<Row> bySkew, List<Row> shown) {
    double mean = bySkew.stream().mapToDouble(Row::largestShare).average().orElse(0);
    return "A darker cell holds more of its client's examples. On average a client's most frequent"
        + " label makes up "
        + Text.percent(mean)
        + " of its data; spread evenly over "
        + labels.size()
        + " labels it would be "
        + Text.percent(1.0 / labels.size())
        + "."
        + (shown.size() < bySkew.size()
            ? " Shown are "
                + shown.size()
                + " of "
                + Text.count(bySkew.size())
                + " clients, evenly spaced from the most even to the most skewed."
            : "");
  }

  private void writeGrid(Html html, List<Row> shown, List<Integer> columns, int others) {
    boolean numbered = columns.size() + (others > 0 ? 1 : 0) <= MAX_NUMBERED;
    double darkest =
        shown.stream()
            .flatMapToDouble(row -> columns.stream().mapToDouble(row::share))
            .max()
            .orElse(1);
    html.open("div", "class", "scroll", "tabindex", "0");
    html.open("table", "class", numbered ? "heat" : "heat dense").open("thead").open("tr");
    html.element("th", "Client", "scope", "col");
    for (int label : columns) {
      html.open("th", "scope", "col", "class", "turned", "title", labels.get(label));
      html.element("span", labels.get(label)).close();
    }
    if (others > 0) {
      html.open("th", "scope", "col", "class", "turned");
      html.element("span", Text.count(others, "other label")).close();
    }
    html.element("th", "All", "scope", "col").close().close().open("tbody");
    for (Row row : shown) {
      writeRow(html, row, columns, others > 0, darkest);
    }
    html.close().close().close();
  }

  private void writeRow(Html html, Row row, List<Integer> columns, boolean others, double darkest) {
    html.open("tr").element("th", row.clientId(), "scope", "row", "title", row.clientId());
    long rest = row.total();
    for (int label : columns) {
      writeCell(
          html,
          labels.get(label),
          row.counts().get(label),
          darkest > 0 ? row.share(label) / darkest : 0);
      rest -= row.counts().get(label);
    }
    if (others) {
      // Not shaded: a sum of many labels is not comparable with single ones.
      html.element("td", Text.count(rest), "class", "rest");
    }
    html.element("td", Text.count(row.total()), "class", "sum").close();
  }

  private static void writeCell(Html html, String label, long count, double strength) {
    html.element(
        "td",
        count == 0 ? "" : Text.count(count),
        "style",
        String.format(Locale.ROOT, "--v:%.3f", STRONGEST * strength),
        "title",
        label + ": " + Text.count(count));
  }

  private static List<Row> spread(List<Row> bySkew) {
    if (bySkew.size() <= MAX_CLIENTS) {
      return bySkew;
    }
    List<Row> chosen = new ArrayList<>();
    for (int i = 0; i < MAX_CLIENTS; i++) {
      chosen.add(bySkew.get((int) ((long) i * (bySkew.size() - 1) / (MAX_CLIENTS - 1))));
    }
    return chosen;
  }

  /** Indices of the labels to show, in label order. */
  private List<Integer> mostFrequent() {
    if (labels.size() <= MAX_LABELS + 1) {
      return IntStream.range(0, labels.size()).boxed().toList();
    }
    long[] totals = new long[labels.size()];
    for (Row row : rows) {
      for (int i = 0; i < totals.length; i++) {
        totals[i] += row.counts().get(i);
      }
    }
    return IntStream.range(0, totals.length)
        .boxed()
        .sorted(Comparator.<Integer>comparingLong(i -> -totals[i]).thenComparing(i -> i))
        .limit(MAX_LABELS)
        .sorted()
        .toList();
  }
}
