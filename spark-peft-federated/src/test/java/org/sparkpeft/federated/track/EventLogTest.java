package org.sparkpeft.federated.track;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Clock;
import java.time.Instant;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.TreeMap;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.federated.round.RunEvent;
import org.sparkpeft.federated.round.RunEvent.ClientEvaluated;
import org.sparkpeft.federated.round.RunEvent.ClientReport;
import org.sparkpeft.federated.round.RunEvent.Evaluated;
import org.sparkpeft.federated.round.RunEvent.RoundProgress;
import org.sparkpeft.federated.round.RunEvent.RoundStarted;
import org.sparkpeft.federated.round.RunEvent.RunFinished;
import org.sparkpeft.federated.round.RunEvent.RunStarted;

class EventLogTest {
  private static final Instant NOON = Instant.parse("2026-03-01T12:00:00.123Z");
  private static final Clock CLOCK = Clock.fixed(NOON, ZoneOffset.UTC);

  @TempDir Path directory;

  @Test
  void everyPermittedEventComesBackAsItWas() {
    List<RunEvent> events = SyntheticRun.small().events();
    Set<Class<?>> seen =
        events.stream().map(Object::getClass).collect(Collectors.toCollection(LinkedHashSet::new));
    assertThat(seen).containsExactlyInAnyOrder(RunEvent.class.getPermittedSubclasses());

    write(events);

    EventHistory history = read();
    assertThat(history.events()).isEqualTo(events);
    assertThat(history.times()).hasSameSizeAs(events).containsOnly(NOON);
    assertThat(history.unknownEvents()).isZero();
  }

  @Test
  void aLineNamesEventTimeAndFieldsInSnakeCase() throws IOException {
    write(List.of(new RoundProgress(3, 4, 10)));

    assertThat(Files.readString(log()))
        .isEqualTo(
            "{\"event\":\"round_progress\",\"time\":\"2026-03-01T12:00:00.123Z\","
                + "\"round\":3,\"clients_done\":4,\"clients\":10}\n");
  }

  @Test
  void valuesThatAreNotFiniteComeBack() {
    List<RunEvent> events = new ArrayList<>();
    for (double loss : new double[] {Double.NaN, Double.POSITIVE_INFINITY, -Double.MAX_VALUE}) {
      events.add(
          new Evaluated("round", events.size() + 1, 5, new TreeMap<>(Map.of("loss", loss)), 0.5));
    }
    write(events);

    assertThat(read().events()).isEqualTo(events);
  }

  @Test
  void aSummaryKeepsTheTypesOfItsValues() {
    RunEvent finished =
        new RunFinished(
            new TreeMap<>(
                Map.of(
                    "whole", 3L, "large", 1L << 40, "real", 3.0, "name", "\n\u2028\ud83d\ude00")));
    write(List.of(finished));

    assertThat(read().events()).containsExactly(finished);
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 2, 40, 9000, 20000})
  void openingCutsATornLastLine(int tornLength) throws IOException {
    write(List.of(new RoundStarted(1, List.of("a")), new RoundProgress(1, 1, 1)));
    byte[] whole = Files.readAllBytes(log());
    byte[] torn = new byte[tornLength];
    Arrays.fill(torn, (byte) 'x');
    Files.write(log(), torn, StandardOpenOption.APPEND);
    assertThat(read().events()).as("a torn line is not read").hasSize(2);

    write(List.of(new RoundProgress(1, 2, 2)));

    assertThat(read().events()).hasSize(3);
    assertThat(Files.readAllBytes(log())).startsWith(whole);
  }

  @Test
  void openingAFileThatIsOneTornLineEmptiesIt() throws IOException {
    Files.writeString(log(), "{\"event\":\"run_st");
    write(List.of(new RoundProgress(1, 0, 2)));

    assertThat(read().events()).containsExactly(new RoundProgress(1, 0, 2));
  }

  @Test
  void eachEventIsInTheFileBeforeTheNext() {
    try (EventLog log = EventLog.open(directory, CLOCK)) {
      log.on(new RoundStarted(1, List.of("a")));
      assertThat(read().events()).hasSize(1);
      log.on(new RoundProgress(1, 1, 1));
      assertThat(read().events()).hasSize(2);
    }
  }

  @Test
  void eventsAndFieldsOfNewerVersionsAreSkipped() throws IOException {
    Files.writeString(
        log(),
        """
        {"event":"budget_spent","time":"2026-03-01T12:00:00Z","epsilon":1.5}
        {"event":"round_progress","time":"2026-03-01T12:00:00Z","round":1,"clients_done":2,"clients":3,"eta":{"s":4}}
        """);

    EventHistory history = read();

    assertThat(history.events()).containsExactly(new RoundProgress(1, 2, 3));
    assertThat(history.unknownEvents()).isEqualTo(1);
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "",
        "nonsense",
        "[1,2]",
        "{\"event\":\"round_progress\"}",
        "{\"event\":7,\"time\":\"2026-03-01T12:00:00Z\"}",
        "{\"event\":\"round_progress\",\"time\":\"yesterday\",\"round\":1,\"clients_done\":2,\"clients\":3}",
        "{\"event\":\"round_progress\",\"time\":\"2026-03-01T12:00:00Z\",\"round\":1,\"clients\":3}",
        "{\"event\":\"round_progress\",\"time\":\"2026-03-01T12:00:00Z\",\"round\":\"1\",\"clients_done\":2,\"clients\":3}",
        "{\"event\":\"round_progress\",\"time\":\"2026-03-01T12:00:00Z\",\"round\":1.5,\"clients_done\":2,\"clients\":3}",
        "{\"event\":\"round_progress\",\"time\":\"2026-03-01T12:00:00Z\",\"round\":1e10,\"clients_done\":2,\"clients\":3}",
        "{\"event\":\"round_progress\",\"time\":\"2026-03-01T12:00:00Z\",\"round\":1,\"round\":1,\"clients_done\":2,\"clients\":3}",
        "{\"event\":\"round_started\",\"time\":\"2026-03-01T12:00:00Z\",\"round\":1,\"cohort\":[null]}",
        "{\"event\":\"round_started\",\"time\":\"2026-03-01T12:00:00Z\",\"round\":1,\"cohort\":null}",
        "{\"event\":\"x\",\"time\":\"2026-03-01T12:00:00Z\"} {}",
        "{\"event\":\"x\",\"time\":\"2026-03-01T12:00:00Z\",\"a\":[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]}"
      })
  void aMalformedLineIsNamed(String line) throws IOException {
    write(List.of(new RoundProgress(1, 0, 2)));
    Files.writeString(log(), line + "\n", StandardOpenOption.APPEND);

    assertThatThrownBy(this::read)
        .isInstanceOf(FormatException.class)
        .hasMessageContaining(log() + ":2: not an event: ");
  }

  @Test
  void aLineLongerThanTheLimitIsRefused() {
    byte[] bytes = ("x".repeat(50) + "\n").getBytes(StandardCharsets.UTF_8);

    assertThatThrownBy(() -> EventLog.read(new ByteArrayInputStream(bytes), log(), 49))
        .isInstanceOf(FormatException.class)
        .hasMessageContaining(":1: longer than the 49 bytes");
  }

  @Test
  void aMissingLogIsNamed() {
    assertThatThrownBy(this::read)
        .isInstanceOf(DataException.class)
        .hasMessageContaining("events.jsonl");
  }

  @Test
  void aResumedRunCountsEachRoundAsItWasLastDone() {
    SyntheticRun run = SyntheticRun.small();
    List<RunEvent> whole = run.events();
    int crash = whole.indexOf(lastReport(whole, 6));
    write(whole.subList(0, crash));
    // The checkpoint of round 4 is the last one on disk, so rounds 5 and 6 are done again.
    RunStarted again = run.started(4, new SplittableRandom(1));
    int fifth = indexOfRound(whole, 5);
    List<RunEvent> rest = new ArrayList<>(List.of(again));
    rest.addAll(whole.subList(fifth, whole.size()));
    write(rest);

    List<RunEvent> expected = new ArrayList<>(whole);
    expected.set(0, again);
    assertThat(read().events()).isEqualTo(expected);
  }

  @Test
  void aRunExtendedAfterItsEndLosesItsOldEnd() {
    List<RunEvent> first = SyntheticRun.small().events();
    write(first);
    RunStarted again = SyntheticRun.small().started(8, new SplittableRandom(1));
    write(List.of(again, new RoundStarted(9, List.of("branch-0001"))));

    List<RunEvent> events = read().events();

    assertThat(events)
        .startsWith(again)
        .noneMatch(e -> e instanceof RunFinished || e instanceof ClientEvaluated);
    assertThat(events)
        .filteredOn(e -> e instanceof Evaluated v && v.what().equals("final"))
        .isEmpty();
    assertThat(events)
        .filteredOn(e -> e instanceof Evaluated v && v.what().equals("round"))
        .hasSize(8);
  }

  @Test
  void anEvaluationMadeAgainReplacesTheEarlierOne() {
    Evaluated first = new Evaluated("central", 0, 5, new TreeMap<>(), 1);
    Evaluated second = new Evaluated("central", 0, 6, new TreeMap<>(), 1);
    write(List.of(first, second));

    assertThat(read().events()).containsExactly(second);
  }

  private static RunEvent lastReport(List<RunEvent> events, int round) {
    return events.stream()
        .filter(e -> e instanceof ClientReport report && report.round() == round)
        .reduce((a, b) -> b)
        .orElseThrow();
  }

  private static int indexOfRound(List<RunEvent> events, int round) {
    for (int i = 0; i < events.size(); i++) {
      if (events.get(i) instanceof RoundStarted started && started.round() == round) {
        return i;
      }
    }
    throw new AssertionError("no round " + round);
  }

  private void write(List<RunEvent> events) {
    try (EventLog log = EventLog.open(directory, CLOCK)) {
      events.forEach(log::on);
    }
  }

  private EventHistory read() {
    return EventLog.read(log());
  }

  private Path log() {
    return directory.resolve(EventLog.FILE_NAME);
  }
}
