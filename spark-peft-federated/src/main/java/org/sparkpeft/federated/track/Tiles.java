package org.sparkpeft.federated.track;

import java.util.List;
import java.util.Locale;
import java.util.Optional;
import org.sparkpeft.federated.round.RunEvent.Evaluated;
import org.sparkpeft.federated.round.RunEvent.RoundFinished;
import org.sparkpeft.federated.round.RunEvent.RunStarted;

/** The headline numbers, each with a sentence in plain language. */
final class Tiles {
  private final RunView run;
  private final RunStarted started;
  private final Html html;

  Tiles(RunView run, RunStarted started, Html html) {
    this.run = run;
    this.started = started;
    this.html = html;
  }

  void write() {
    html.open("section", "class", "tiles", "aria-label", "Headline numbers");
    run.latest().ifPresent(this::writeQuality);
    writeSpread();
    writeParameters();
    if (!run.rounds().isEmpty()) {
      writeTraffic();
      writeCompression();
      writeTime();
    }
    writeLosses();
    html.close();
  }

  private void writeQuality(Evaluated latest) {
    String metric = Metric.primary(latest.metrics().keySet()).orElse("accuracy");
    double value = latest.metrics().getOrDefault(metric, Double.NaN);
    String examples = Text.count(latest.examples(), "test example");
    String what =
        metric.equals("accuracy") ? "of " + examples + " classified correctly" : "on " + examples;
    String untrained =
        metric(metric, "baseline")
            .map(v -> "; " + Metric.show(metric, v) + " before any training")
            .orElse("");
    tile(Metric.title(metric), Metric.show(metric, value), what + untrained + ".");
    if (Metric.isFraction(metric)) {
      metric(metric, "central").filter(v -> v > 0).ifPresent(v -> writeCentral(value, v));
      metric(metric, "head_only")
          .filter(v -> metric(metric, "central").isEmpty())
          .ifPresent(v -> writeHeadOnly(value, v));
    }
  }

  private Optional<Double> metric(String metric, String what) {
    return run.evaluation(what)
        .map(evaluated -> evaluated.metrics().getOrDefault(metric, Double.NaN))
        .filter(Double::isFinite);
  }

  private void writeCentral(double federated, double central) {
    tile(
        "Compared with central training",
        Text.percent(federated / central),
        "of what the same model reaches ("
            + Text.percent(central)
            + ") when all data may be gathered in one place.");
  }

  private void writeHeadOnly(double federated, double headOnly) {
    tile(
        "Gain from the adapter",
        String.format(Locale.ROOT, "%+.1f points", 100 * (federated - headOnly)),
        "over training only the output layer (" + Text.percent(headOnly) + ").");
  }

  private void writeSpread() {
    List<Double> accuracies = run.clientAccuracies();
    if (accuracies.size() < 2) {
      return;
    }
    tile(
        "Nine clients in ten",
        "≥ " + Text.percent(RunView.quantile(accuracies, 0.1)),
        "accuracy on their own data; the lowest of "
            + Text.count(accuracies.size())
            + " clients has "
            + Text.percent(accuracies.get(0))
            + ".");
  }

  private void writeParameters() {
    long trained = started.trainableParameters();
    long all = trained + started.baseParameters();
    tile(
        "Trained",
        Text.percent((double) trained / all),
        "of the model: "
            + Text.amount(trained)
            + " of "
            + Text.amount(all)
            + " parameters. Only these are trained and sent.");
  }

  private void writeTraffic() {
    double up = run.sum(RoundFinished::uplinkBytes);
    double down = run.sum(RoundFinished::downlinkBytes);
    tile(
        "Data sent",
        Text.bytes(up + down),
        Text.bytes(up)
            + " from the clients, "
            + Text.bytes(down)
            + " to them, in "
            + Text.count(run.rounds().size(), "round")
            + ".");
  }

  private void writeCompression() {
    double bytes = run.sum(RoundFinished::uplinkBytes);
    double parameters = run.sum(RoundFinished::uplinkParameters);
    double bits = run.sum(RoundFinished::uplinkBoundBits);
    if (bytes > 0) {
      tile(
          "Updates compressed",
          Text.decimal(2 * parameters / bytes, 1) + "×",
          "smaller than as 16-bit numbers; "
              + Text.percent(bits / (8 * bytes))
              + " of what an ideal entropy code would reach.");
    }
  }

  private void writeTime() {
    double rounds = run.sum(RoundFinished::seconds);
    double total = rounds + run.evaluationSeconds();
    tile(
        "Time",
        Text.seconds(total),
        Text.percent(run.sum(RoundFinished::trainSeconds) / rounds)
            + " of the rounds was training; evaluation took "
            + Text.seconds(run.evaluationSeconds())
            + ".");
  }

  private void writeLosses() {
    long lost = run.reports().size() - run.countOf("ok");
    if (lost > 0) {
      tile(
          "Updates lost",
          Text.count(lost),
          "of " + Text.count(run.reports().size()) + "; the rounds went on without them.");
    }
  }

  private void tile(String title, String value, String caption) {
    html.open("div", "class", "card tile")
        .element("h2", title)
        .element("p", value, "class", "value")
        .element("p", caption, "class", "note")
        .close();
  }
}
