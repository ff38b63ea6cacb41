package org.sparkpeft.federated.track;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.ToDoubleFunction;
import org.sparkpeft.federated.round.RunEvent.Evaluated;
import org.sparkpeft.federated.round.RunEvent.RoundFinished;

/** The parts of the report that go by round: learning, traffic, and the numbers of each round. */
final class RoundSections {
  private final RunView run;
  private final List<RoundFinished> rounds;
  private final int[] numbers;

  RoundSections(RunView run) {
    this.run = run;
    this.rounds = run.rounds();
    this.numbers = rounds.stream().mapToInt(RoundFinished::round).toArray();
  }

  void writeLearning(Html html) {
    html.open("section").element("h2", "Learning").open("div", "class", "pair");
    writeQuality(html);
    writeLoss(html);
    html.close().close();
  }

  private void writeQuality(Html html) {
    String name = metric();
    List<LineChart.Line> lines = new ArrayList<>();
    lines.add(new LineChart.Line("federated", Ink.FIRST, byRound(name), false));
    addReference(lines, "central training", "central", name, Ink.THIRD);
    addReference(lines, "head only", "head_only", name, Ink.SECOND);
    addReference(lines, "untrained head", "baseline", name, Ink.FOURTH);
    LineChart chart =
        new LineChart(
            numbers,
            lines,
            false,
            value ->
                Metric.isFraction(name)
                    ? String.format(Locale.ROOT, "%.0f%%", 100 * value)
                    : axis(value));
    String title = Metric.title(name) + " by round";
    Figure figure =
        Figure.ofLines(
            title,
            "Measured on the test data after each round"
                + (lines.size() > 1 ? ", beside other ways to train the same model." : "."),
            lines);
    if (run.evaluationsByRound().isEmpty() || numbers.length == 0 || !chart.hasData()) {
      figure.writeNote(html, "The rounds of this run were not evaluated.");
    } else {
      figure.write(html, () -> chart.draw("quality", title));
    }
  }

  /** What to show of rounds: the first choice among the metrics that all evaluated rounds have. */
  private String metric() {
    Set<String> shared = new TreeSet<>();
    run.latest().ifPresent(latest -> shared.addAll(latest.metrics().keySet()));
    run.evaluationsByRound().values().forEach(each -> shared.retainAll(each.metrics().keySet()));
    return Metric.primary(shared).orElse("accuracy");
  }

  private double[] byRound(String metric) {
    double[] values = new double[numbers.length];
    for (int i = 0; i < numbers.length; i++) {
      Evaluated evaluated = run.evaluationsByRound().get(numbers[i]);
      values[i] =
          evaluated == null ? Double.NaN : evaluated.metrics().getOrDefault(metric, Double.NaN);
    }
    return values;
  }

  private void addReference(
      List<LineChart.Line> lines, String name, String what, String metric, Ink ink) {
    run.evaluation(what)
        .map(evaluated -> evaluated.metrics().getOrDefault(metric, Double.NaN))
        .filter(Double::isFinite)
        .ifPresent(value -> lines.add(LineChart.Line.at(name, ink, value, numbers.length)));
  }

  private void writeLoss(Html html) {
    List<LineChart.Line> lines = new ArrayList<>();
    lines.add(
        new LineChart.Line(
            "training (clients' own data)", Ink.SECOND, each(RoundFinished::trainLoss), false));
    LineChart.Line test = new LineChart.Line("test data", Ink.FIRST, byRound("loss"), false);
    if (new LineChart(numbers, List.of(test), true, RoundSections::axis).hasData()) {
      lines.add(test);
    }
    LineChart chart = new LineChart(numbers, lines, true, RoundSections::axis);
    long gaps = rounds.stream().filter(round -> !Double.isFinite(round.trainLoss())).count();
    String caption =
        "How far predictions are from the labels; lower is better."
            + (gaps > 0
                ? " " + Text.count(gaps, "round") + " without a finite training loss."
                : "");
    Figure figure = Figure.ofLines("Loss by round", caption, lines);
    if (chart.hasData()) {
      figure.write(html, () -> chart.draw("loss", "Loss by round"));
    } else {
      figure.writeNote(html, "No round reported a finite loss.");
    }
  }

  void writeTraffic(Html html) {
    html.open("section").element("h2", "Traffic").open("div", "class", "pair");
    writeBytes(html);
    writeBits(html);
    html.close().close();
  }

  private void writeBytes(Html html) {
    double highest =
        rounds.stream()
            .mapToDouble(round -> Math.max(round.uplinkBytes(), round.downlinkBytes()))
            .max()
            .orElse(0);
    int unit = Text.byteUnit(highest);
    double scale = Math.pow(1000, unit);
    List<LineChart.Line> lines =
        List.of(
            new LineChart.Line(
                "clients to server", Ink.FIRST, each(r -> r.uplinkBytes() / scale), false),
            new LineChart.Line(
                "server to clients", Ink.SECOND, each(r -> r.downlinkBytes() / scale), false));
    LineChart chart = new LineChart(numbers, lines, true, RoundSections::axis);
    Figure figure =
        Figure.ofLines(
            "Data sent by round",
            "In " + Text.byteUnitName(unit) + ", all clients of the round together.",
            lines);
    if (chart.hasData()) {
      figure.write(html, () -> chart.draw("bytes", "Data sent by round"));
    } else {
      figure.writeNote(html, "No round is complete yet.");
    }
  }

  private void writeBits(Html html) {
    List<LineChart.Line> lines =
        List.of(
            new LineChart.Line(
                "sent", Ink.FIRST, each(r -> 8.0 * r.uplinkBytes() / r.uplinkParameters()), false),
            new LineChart.Line(
                "entropy bound",
                Ink.THIRD,
                each(r -> r.uplinkBoundBits() / r.uplinkParameters()),
                true));
    LineChart chart = new LineChart(numbers, lines, true, RoundSections::axis);
    Figure figure =
        Figure.ofLines(
            "Bits for each trained parameter, clients to server",
            "Sent as 16-bit numbers it would be 16. The bound is what the best entropy code for the"
                + " same values, tensor by tensor, would need.",
            lines);
    if (chart.hasData()) {
      figure.write(html, () -> chart.draw("bits", "Bits for each trained parameter by round"));
    } else {
      figure.writeNote(html, "No client update was accepted.");
    }
  }

  /** The numbers behind the charts. */
  void writeTable(Html html) {
    String metric = metric();
    Table table =
        new Table(
            "Round",
            "Updates used",
            "Lost",
            "Training loss",
            Metric.title(metric),
            "Sent up",
            "Sent down",
            "Bits a parameter",
            "Time");
    double[] quality = byRound(metric);
    for (int i = 0; i < numbers.length; i++) {
      RoundFinished round = rounds.get(i);
      table.row(
          Text.count(round.round()),
          Text.count(round.clientsOk()),
          Text.count(round.clientsFailed()),
          Text.decimal(round.trainLoss(), 4),
          Metric.show(metric, quality[i]),
          Text.bytes(round.uplinkBytes()),
          Text.bytes(round.downlinkBytes()),
          Text.decimal(8.0 * round.uplinkBytes() / round.uplinkParameters(), 3),
          Text.seconds(round.seconds()));
    }
    html.open("details", "class", "card").element("summary", "Numbers of each round");
    table.write(html);
    html.close();
  }

  private double[] each(ToDoubleFunction<RoundFinished> value) {
    return rounds.stream().mapToDouble(value).toArray();
  }

  /** As few digits as tell ticks apart. */
  static String axis(double value) {
    double size = Math.abs(value);
    int digits = size == 0 || size >= 10 && value == Math.rint(value) ? 0 : size < 0.1 ? 3 : 2;
    String text = Text.decimal(value, digits);
    return text.contains(".") ? text.replaceAll("\\.?0+$", "") : text;
  }
}
