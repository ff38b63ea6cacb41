package org.sparkpeft.federated.track;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.function.ToDoubleFunction;
import org.sparkpeft.federated.round.RunEvent.RoundFinished;

/** Where the time went: in all, and by round. */
final class TimeSection {
  /** More bars than this would be thinner than they can be seen. */
  private static final int MAX_BARS = 60;

  private final RunView run;

  TimeSection(RunView run) {
    this.run = run;
  }

  /** What took how long. */
  private record Share(String name, Ink ink, double seconds) {}

  void write(Html html) {
    if (run.rounds().isEmpty()) {
      return;
    }
    html.open("section").element("h2", "Time").open("div", "class", "pair");
    writeTotal(html);
    writeByRound(html);
    html.close().close();
  }

  private void writeTotal(Html html) {
    List<Share> shares =
        List.of(
            new Share("training", Ink.FIRST, total(RoundFinished::trainSeconds)),
            new Share("aggregation", Ink.SECOND, total(RoundFinished::aggregateSeconds)),
            new Share("other Spark work", Ink.THIRD, total(TimeSection::otherSeconds)),
            new Share("evaluation", Ink.FOURTH, Math.max(0, run.evaluationSeconds())));
    double sum = shares.stream().mapToDouble(Share::seconds).sum();
    html.open("figure", "class", "card").open("figcaption").element("h3", "Where the time went");
    html.element(
        "p",
        Text.seconds(sum)
            + " in all. Training is the longest task slot of each round; other Spark work is"
            + " scheduling, waiting, transfer and the clients' encoding.");
    html.close().open("div", "class", "split", "aria-hidden", "true");
    for (Share share : shares) {
      String width =
          String.format(Locale.ROOT, "%.2f%%", sum > 0 ? 100 * share.seconds() / sum : 0);
      html.open("div", "style", "--k:" + share.ink().css() + ";width:" + width).close();
    }
    html.close().open("table", "class", "shares").open("tbody");
    for (Share share : shares) {
      html.open("tr").open("th", "scope", "row");
      html.open("span", "class", "key", "style", "--k:" + share.ink().css()).close();
      html.text(share.name()).close();
      html.element("td", Text.seconds(share.seconds()));
      html.element("td", Text.percent(share.seconds() / sum)).close();
    }
    html.close().close();
    html.element(
        "p",
        "Encoding and decoding took "
            + Text.seconds(run.sum(RoundFinished::codecSeconds))
            + ", summed over all clients.",
        "class",
        "note");
    html.close();
  }

  private void writeByRound(Html html) {
    List<RoundFinished> rounds = run.rounds();
    int perBar = (rounds.size() + MAX_BARS - 1) / MAX_BARS;
    List<String> categories = new ArrayList<>();
    for (int i = 0; i < rounds.size(); i += perBar) {
      categories.add(Text.count(rounds.get(i).round()));
    }
    List<BarChart.Part> parts =
        List.of(
            part("training", Ink.FIRST, perBar, RoundFinished::trainSeconds),
            part("aggregation", Ink.SECOND, perBar, RoundFinished::aggregateSeconds),
            part("other Spark work", Ink.THIRD, perBar, TimeSection::otherSeconds));
    String caption =
        "In seconds, evaluation not included."
            + (perBar > 1 ? " Each bar is the mean of " + perBar + " rounds." : "");
    BarChart chart = new BarChart(categories, parts, RoundSections::axis);
    Figure.ofBars("Time by round", caption, parts)
        .write(html, () -> chart.draw("time", "Time by round"));
  }

  private BarChart.Part part(
      String name, Ink ink, int perBar, ToDoubleFunction<RoundFinished> value) {
    List<RoundFinished> rounds = run.rounds();
    List<Double> values = new ArrayList<>();
    for (int i = 0; i < rounds.size(); i += perBar) {
      values.add(
          rounds.subList(i, Math.min(rounds.size(), i + perBar)).stream()
              .mapToDouble(value)
              .average()
              .orElse(0));
    }
    return new BarChart.Part(name, ink, values);
  }

  private double total(ToDoubleFunction<RoundFinished> value) {
    return Math.max(0, run.sum(value));
  }

  private static double otherSeconds(RoundFinished round) {
    return Math.max(0, round.sparkSeconds() - round.aggregateSeconds());
  }
}
