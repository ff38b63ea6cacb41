package org.sparkpeft.federated.cli;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.assertj.core.api.Assertions.assertThat;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.sparkpeft.federated.cli.ProgressBar.Mode;
import org.sparkpeft.federated.round.RunEvent;

class ProgressBarTest {
  private final ByteArrayOutputStream bytes = new ByteArrayOutputStream();
  private final AtomicLong seconds = new AtomicLong();

  private ProgressBar bar(Mode mode, int width) {
    return new ProgressBar(
        mode, new PrintStream(bytes, true, UTF_8), width, () -> seconds.get() * 1_000_000_000L);
  }

  private List<String> lines() {
    return bytes.toString(UTF_8).lines().toList();
  }

  private static RunEvent started(int resumedFrom) {
    return new RunEvent.RunStarted(
        "snips",
        7,
        4,
        resumedFrom,
        112_519,
        22_565_376,
        List.of("a", "b"),
        new TreeMap<>(Map.of("c1", List.of(3L, 4L), "c2", List.of(1L, 1L))),
        Map.of());
  }

  private static RunEvent report(int round, String status, double loss, long examples) {
    return new RunEvent.ClientReport(
        round,
        "c1",
        status,
        examples,
        2,
        loss,
        900,
        1,
        0.1,
        "host",
        0,
        status.equals("ok") ? "" : "IllegalStateException: broken",
        "");
  }

  private static RunEvent finished(int round, int failed) {
    return new RunEvent.RoundFinished(
        round, 2 - failed, failed, 0.75, 1500, 9000, 100, 500, 12.34, 10, 1, 0.5, 2);
  }

  private static RunEvent evaluated(String what, int round, double accuracy) {
    return new RunEvent.Evaluated(
        what, round, 10, new TreeMap<>(Map.of("accuracy", accuracy)), 1.5);
  }

  @Test
  void eachRoundIsOnePlainLine() {
    try (ProgressBar bar = bar(Mode.LINES, 80)) {
      bar.on(started(0));
      bar.on(evaluated("baseline", 0, 0.1));
      bar.on(new RunEvent.RoundStarted(1, List.of("c1", "c2")));
      bar.on(new RunEvent.RoundProgress(1, 1, 2));
      bar.on(report(1, "ok", 0.5, 10));
      seconds.set(30);
      bar.on(finished(1, 0));
      bar.on(evaluated("round", 1, 0.25));
      bar.on(new RunEvent.RoundStarted(2, List.of("c1", "c2")));
      bar.on(report(2, "failed", Double.NaN, 0));
      seconds.set(60);
      bar.on(finished(2, 1));
      bar.on(new RunEvent.RunFinished(new TreeMap<>()));
    }

    assertThat(lines())
        .containsExactly(
            "snips: 2 clients, 112,519 trainable parameters on 22,565,376 frozen, 4 rounds",
            "baseline: accuracy 0.1000",
            "round 1/4: 2 of 2 clients, loss 0.7500, accuracy 0.2500, 2.00 kB, 12.3 s, ETA 1 min"
                + " 30 s",
            "round 2: client c1 failed: IllegalStateException: broken",
            "round 2/4: 1 of 2 clients, loss 0.7500, 4.00 kB, 12.3 s, ETA 1 min" + " 00 s");
  }

  @Test
  void aRoundThatWasNotEvaluatedIsPrintedWhenTheNextBegins() {
    ProgressBar bar = bar(Mode.LINES, 80);
    bar.on(started(2));
    bar.on(new RunEvent.RoundStarted(3, List.of("c1")));
    bar.on(finished(3, 0));
    assertThat(lines()).hasSize(1).first().asString().endsWith("resumed after round 2");

    bar.on(new RunEvent.RoundStarted(4, List.of("c1")));

    assertThat(lines()).hasSize(2).last().asString().startsWith("round 3/4: 2 of 2 clients");
  }

  @Test
  void aBrokenRunStillShowsItsLastRound() {
    try (ProgressBar bar = bar(Mode.LINES, 80)) {
      bar.on(started(0));
      bar.on(finished(1, 0));
    }

    assertThat(lines()).hasSize(2);
  }

  @Test
  void aTerminalGetsOneLineRedrawn() {
    try (ProgressBar bar = bar(Mode.LIVE, 60)) {
      bar.on(started(0));
      bar.on(new RunEvent.RoundStarted(1, List.of("c1", "c2")));
      bar.on(report(1, "ok", 0.5, 10));
      bar.on(report(1, "ok", 1.0, 30));
      bar.on(new RunEvent.RoundProgress(1, 2, 2));
      seconds.set(10);
      bar.on(finished(1, 0));
      bar.on(evaluated("round", 1, 0.25));
    }

    String[] drawn = bytes.toString(UTF_8).split("\r\u001b\\[K", -1);
    assertThat(drawn[1]).startsWith("snips: ");
    assertThat(drawn)
        .contains("round 1/4  clients 0/2  0 B", "round 1/4  clients 0/2  loss 0.8750  0 B");
    assertThat(drawn[drawn.length - 1].strip())
        .isEqualTo("round 1/4  clients 2/2  loss 0.8750  accuracy 0.2500  2.00");
    assertThat(drawn)
        .filteredOn(line -> line.startsWith("round"))
        .allMatch(l -> l.strip().length() < 60);
  }

  @Test
  void jsonIsQuiet() {
    try (ProgressBar bar = bar(Mode.QUIET, 80)) {
      bar.on(started(0));
      bar.on(new RunEvent.RoundStarted(1, List.of("c1", "c2")));
      bar.on(finished(1, 0));
    }

    assertThat(bytes.size()).isZero();
  }

  @ParameterizedTest
  @CsvSource({
    "0, 0 B",
    "999, 999 B",
    "1000, 1.00 kB",
    "9994, 9.99 kB",
    "9999, 10.0 kB",
    "99951, 100 kB",
    "999499, 999 kB",
    "999500, 1.00 MB",
    "1234567890, 1.23 GB",
    "9223372036854775807, 9223 PB",
  })
  void bytesHaveThreeDigits(long bytes, String shown) {
    assertThat(ProgressBar.bytes(bytes)).isEqualTo(shown);
  }

  @ParameterizedTest
  @CsvSource({"0, 0 s", "59, 59 s", "60, 1 min 00 s", "3599, 59 min 59 s", "7380, 2 h 03 min"})
  void durationsAreReadable(long seconds, String shown) {
    assertThat(ProgressBar.duration(seconds)).isEqualTo(shown);
  }
}
