package org.sparkpeft.federated.track;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.io.StringReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Clock;
import java.time.Instant;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Pattern;
import javax.xml.parsers.DocumentBuilderFactory;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.federated.round.RunEvent;
import org.sparkpeft.federated.round.RunEvent.ClientReport;
import org.sparkpeft.federated.round.RunEvent.Evaluated;
import org.sparkpeft.federated.round.RunEvent.RoundFinished;
import org.sparkpeft.federated.round.RunEvent.RoundStarted;
import org.sparkpeft.federated.round.RunEvent.RunStarted;
import org.xml.sax.InputSource;

class ReportTest {
  private static final Clock CLOCK =
      Clock.fixed(Instant.parse("2026-03-01T12:00:00Z"), ZoneOffset.UTC);
  private static final String CONFIG =
      """
      name: banking-intents-lora
      seed: 42
      model: bundled:all-MiniLM-L6-v2
      peft:
        method: lora
        r: 8
        lora_alpha: 16
        target_modules: [query, value]
      rounds: 8
      """;

  @TempDir Path directory;

  @Test
  void holdsEverySection() throws Exception {
    String html = report(SyntheticRun.small().events());

    assertThat(html)
        .contains(
            "<title>banking-intents-lora – spark-peft</title>",
            "Accuracy by round",
            "Loss by round",
            "Accuracy across clients",
            "Labels of each client",
            "Updates lost",
            "Data sent by round",
            "entropy bound",
            "Where the time went",
            "Numbers of each client",
            "target_modules",
            "2.13.17",
            "OutOfMemoryError",
            "complete");
    assertThat(Pattern.compile("<svg ").matcher(html).results()).hasSize(7);
    assertWellFormed(html);
  }

  @Test
  void needsNothingFromOutsideAndRunsNothing() throws Exception {
    String html = report(SyntheticRun.small().events());

    assertThat(html)
        .doesNotContain("<script", "http://", "https://", "<img", "<link", "@import", "javascript:")
        .contains("default-src 'none'".replace("'", "&#39;"), "prefers-color-scheme: dark");
    assertThat(Pattern.compile("url\\((?!#clip-)").matcher(html).find()).isFalse();
    assertThat(html.replaceAll("(?s)<style>.*?</style>", ""))
        .as("charts take all colours from the style sheet")
        .doesNotContain("rgb(");
  }

  @Test
  void drawingsNeverShareAClipPath() throws Exception {
    String html = report(SyntheticRun.small().events());

    List<String> ids =
        Pattern.compile("clipPath id=\"([^\"]+)\"")
            .matcher(html)
            .results()
            .map(m -> m.group(1))
            .toList();
    assertThat(ids).isNotEmpty().doesNotHaveDuplicates();
    assertThat(Pattern.compile("url\\(#([^)]+)\\)").matcher(html).results().map(m -> m.group(1)))
        .isSubsetOf(ids);
  }

  @Test
  void theSameEventsGiveTheSameBytes() throws Exception {
    String first = report(SyntheticRun.small().events());
    Path second = Files.createDirectory(directory.resolve("second"));

    assertThat(report(second, SyntheticRun.small().events(), CONFIG)).isEqualTo(first);
  }

  @Test
  void whatComesFromDataIsTextOnly() throws Exception {
    String attack = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>&\u0007";
    RunStarted run =
        new RunStarted(
            "n" + attack,
            1,
            1,
            0,
            10,
            90,
            List.of("l" + attack, "m"),
            new TreeMap<>(Map.of("c" + attack, List.of(3L, 4L))),
            Map.of("v" + attack, "w" + attack));
    List<RunEvent> events =
        List.of(
            run,
            new RoundStarted(1, List.of("c" + attack)),
            new ClientReport(
                1,
                "c" + attack,
                "s" + attack,
                7,
                0,
                Double.NaN,
                0,
                1,
                0,
                "h" + attack,
                0,
                "e" + attack,
                "f" + attack),
            new RoundFinished(1, 0, 1, Double.NaN, 0, 0, 0, 100, 2, 1, 0, 0, 1),
            new Evaluated("round", 1, 10, new TreeMap<>(Map.of("m" + attack, 0.5)), 1));

    String html = report(directory, events, "key: " + attack);

    assertThat(html).doesNotContain("<script", "<img").contains("&lt;script&gt;alert(1)");
    assertThat(
            Pattern.compile("<[^>]*\\sonerror").matcher(html.replaceAll("\"[^\"]*\"", "")).find())
        .isFalse();
    assertWellFormed(html);
  }

  @Test
  void manyClientsAndLabelsAreCappedWithANote() throws Exception {
    String html = report(new SyntheticRun("large", 1000, 77, 30, 100, 3).events());

    assertThat(html)
        .contains(
            "40 of 1,000 clients", "53 other labels", "has all 1,000.", "The 200 least accurate");
    assertThat(html.length()).isLessThan(1_500_000);
    assertWellFormed(html);
  }

  @Test
  void oneRoundOfOneClientWorks() throws Exception {
    String html = report(new SyntheticRun("one", 1, 2, 1, 1, 5).events());

    assertThat(html).doesNotContain("Accuracy across clients").contains("1 round", "1 client");
    assertWellFormed(html);
  }

  @Test
  void lossesThatAreNotFiniteAreGapsAndNotes() throws Exception {
    List<RunEvent> events = new ArrayList<>(SyntheticRun.small().events());
    events.replaceAll(e -> e instanceof RoundFinished f ? withLoss(f, Double.NaN) : e);
    events.replaceAll(
        e ->
            e instanceof Evaluated v
                ? new Evaluated(
                    v.what(),
                    v.round(),
                    v.examples(),
                    new TreeMap<>(Map.of("accuracy", 0.125, "loss", Double.POSITIVE_INFINITY)),
                    1)
                : e);
    String html = report(events);
    assertThat(html).contains("No round reported a finite loss.").doesNotContain("NaN", "Infinity");

    events.replaceAll(
        e -> e instanceof RoundFinished f && f.round() % 2 == 0 ? withLoss(f, 1.5) : e);
    assertThat(report(Files.createDirectory(directory.resolve("some")), events, CONFIG))
        .contains("4 rounds without a finite training loss.")
        .doesNotContain("NaN", "Infinity");
  }

  @Test
  void aRunThatIsNotFinishedSaysSo() throws Exception {
    List<RunEvent> events = SyntheticRun.small().events();

    assertThat(report(events.subList(0, 30))).contains("not finished", "2 of 8 rounds");
    assertThat(report(Files.createDirectory(directory.resolve("b")), events.subList(0, 1), CONFIG))
        .contains("0 of 8 rounds");
  }

  @Test
  void aRunWithoutLabelsHasNoHeatMap() throws Exception {
    RunStarted run =
        new RunStarted(
            "regression",
            1,
            1,
            0,
            10,
            90,
            List.of(),
            new TreeMap<>(Map.of("a", List.of(31L))),
            Map.of());
    List<RunEvent> events =
        List.of(
            run,
            new RoundFinished(1, 1, 0, 0.3, 10, 70, 10, 10, 2, 1, 0, 0, 1),
            new Evaluated("final", 1, 9, new TreeMap<>(Map.of("spearman", 0.75, "loss", 0.2)), 1));

    assertThat(report(events))
        .contains("Spearman", "0.750", ">31<")
        .doesNotContain("Labels of each");
  }

  @Test
  void withoutARunThereIsNoReport() throws IOException {
    assertThatThrownBy(() -> Report.write(directory)).isInstanceOf(DataException.class);
    Files.createFile(directory.resolve(EventLog.FILE_NAME));
    assertThatThrownBy(() -> Report.write(directory))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("holds no run");
  }

  private static RoundFinished withLoss(RoundFinished f, double loss) {
    return new RoundFinished(
        f.round(),
        f.clientsOk(),
        f.clientsFailed(),
        loss,
        f.uplinkBytes(),
        f.uplinkBoundBits(),
        f.uplinkParameters(),
        f.downlinkBytes(),
        f.seconds(),
        f.trainSeconds(),
        f.codecSeconds(),
        f.aggregateSeconds(),
        f.sparkSeconds());
  }

  private String report(List<RunEvent> events) throws IOException {
    return report(directory, events, CONFIG);
  }

  private static String report(Path directory, List<RunEvent> events, String config)
      throws IOException {
    try (EventLog log = EventLog.open(directory, CLOCK)) {
      events.forEach(log::on);
    }
    Files.writeString(directory.resolve(Report.CONFIG_FILE_NAME), config);
    return Files.readString(Report.write(directory));
  }

  /**
   * Void elements aside, the markup is well-formed XML, so every element is closed in its place.
   */
  private static void assertWellFormed(String html) throws Exception {
    String xml =
        html.replace("<!DOCTYPE html>", "")
            .replaceAll("(?s)<style>.*?</style>", "")
            .replaceAll("(<meta [^>]*)>", "$1/>");
    DocumentBuilderFactory.newInstance()
        .newDocumentBuilder()
        .parse(new InputSource(new StringReader(xml)));
  }
}
