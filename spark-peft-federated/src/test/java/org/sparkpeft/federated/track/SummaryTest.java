package org.sparkpeft.federated.track;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.entry;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.sparkpeft.federated.round.RunEvent;
import org.sparkpeft.federated.round.RunEvent.ClientEvaluated;
import org.sparkpeft.federated.round.RunEvent.ClientReport;
import org.sparkpeft.federated.round.RunEvent.Evaluated;
import org.sparkpeft.federated.round.RunEvent.RoundFinished;
import org.sparkpeft.federated.round.RunEvent.RoundStarted;
import org.sparkpeft.federated.round.RunEvent.RunStarted;

class SummaryTest {

  /** Two unequal rounds over 1,000 parameters, worked out by hand below. */
  private static List<RunEvent> twoRounds() {
    List<RunEvent> events = new ArrayList<>();
    events.add(
        new RunStarted(
            "tiny",
            7,
            2,
            0,
            1000,
            9000,
            List.of("x", "y"),
            new TreeMap<>(Map.of("a", List.of(1L, 2L), "b", List.of(3L, 0L), "c", List.of(0L, 4L))),
            Map.of("java", "17")));
    events.add(new Evaluated("baseline", 0, 10, new TreeMap<>(Map.of("accuracy", 0.5)), 1));
    events.add(new RoundStarted(1, List.of("a", "b", "c")));
    events.add(report(1, "a", "ok"));
    events.add(report(1, "b", "failed"));
    events.add(report(1, "b", "ok"));
    events.add(report(1, "c", "dropped"));
    events.add(new RoundFinished(1, 2, 1, 0.9, 500, 3600, 2000, 900, 10, 8, 0.5, 0.25, 2));
    events.add(new RoundStarted(2, List.of("a")));
    events.add(report(2, "a", "ok"));
    events.add(new RoundFinished(2, 1, 0, 0.7, 250, 1800, 1000, 100, 6, 4, 0.25, 0.5, 2));
    events.add(
        new Evaluated(
            "final", 2, 10, new TreeMap<>(Map.of("accuracy", 0.8, "loss", Double.NaN)), 2));
    double[] accuracies = {0.5, 0.9, 0.7};
    for (int i = 0; i < 3; i++) {
      events.add(new ClientEvaluated("abc".substring(i, i + 1), "test", 4, accuracies[i]));
    }
    events.add(new ClientEvaluated("d", "test", 0, Double.NaN));
    return events;
  }

  private static ClientReport report(int round, String client, String status) {
    return new ClientReport(round, client, status, 3, 1, 0.5, 100, 1, 0.1, "h", 0, "", "");
  }

  @Test
  void valuesAreThoseWorkedOutByHand() {
    SortedMap<String, Object> summary = Summary.of(twoRounds(), "abc123");

    assertThat(summary)
        .contains(
            entry("name", "tiny"),
            entry("seed", 7L),
            entry("rounds", 2L),
            entry("clients", 3L),
            entry("adapter_sha256", "abc123"),
            entry("trainable_parameters", 1000L),
            entry("base_parameters", 9000L),
            entry("versions.java", "17"),
            entry("baseline.accuracy", 0.5),
            entry("final.accuracy", 0.8),
            // b failed first and was then tried again with success
            entry("clients.failed", 0L),
            entry("clients.dropped", 1L),
            entry("clients.late", 0L),
            entry("client.accuracy.min", 0.5),
            entry("client.accuracy.median", 0.7),
            entry("client.accuracy.max", 0.9),
            entry("uplink.bytes", 750L),
            entry("uplink.bits_per_parameter", 2.0),
            entry("uplink.entropy_bound_bits_per_parameter", 1.8),
            entry("uplink.efficiency", 0.9),
            entry("uplink.ratio_vs_fp16", 8.0),
            entry("downlink.bytes", 1000L),
            // 3 + 1 adapters of 1,000 parameters
            entry("downlink.bits_per_parameter", 2.0),
            entry("downlink.ratio_vs_fp16", 8.0),
            entry("seconds.train", 12.0),
            entry("seconds.codec", 0.75),
            entry("seconds.aggregate", 0.75),
            entry("seconds.spark", 4.0),
            entry("seconds.evaluate", 3.0),
            entry("seconds.total", 19.0),
            entry("spark.overhead", 0.25));
    // numpy.quantile([.5, .7, .9], .1)
    assertThat(summary)
        .hasEntrySatisfying(
            "client.accuracy.p10",
            p10 -> assertThat(((Number) p10).doubleValue()).isCloseTo(0.54, within(1e-12)));
    assertThat(summary).doesNotContainKeys("final.loss", "head_only.accuracy", "central.accuracy");
  }

  @Test
  void aRunWithoutRoundsHasNoRatios() {
    SortedMap<String, Object> summary = Summary.of(twoRounds().subList(0, 1), "");

    assertThat(summary).containsEntry("rounds", 0L).containsEntry("uplink.bytes", 0L);
    assertThat(summary)
        .doesNotContainKeys(
            "uplink.efficiency",
            "uplink.ratio_vs_fp16",
            "downlink.ratio_vs_fp16",
            "spark.overhead");
    assertThat(SummaryTable.of(summary)).contains("tiny");
  }

  @Test
  void theFileIsSortedJsonAndTheSameEachTime(@TempDir Path directory) throws IOException {
    Path file = directory.resolve(Summary.FILE_NAME);
    SortedMap<String, Object> summary = Summary.of(SyntheticRun.small().events(), "ab");
    Summary.write(file, summary);
    String json = Files.readString(file);
    Summary.write(file, Summary.of(SyntheticRun.small().events(), "ab"));

    assertThat(Files.readString(file))
        .isEqualTo(json)
        .startsWith("{\n  \"adapter_sha256\": \"ab\",\n");
    List<String> keys = new ArrayList<>();
    new ObjectMapper().readTree(json).fieldNames().forEachRemaining(keys::add);
    assertThat(keys).isSorted().containsExactlyElementsOf(summary.keySet());
  }

  @Test
  void theTableFitsATerminal() {
    String table = SummaryTable.of(Summary.of(SyntheticRun.small().events(), "ab"));

    assertThat(table.lines()).allSatisfy(line -> assertThat(line).hasSizeLessThanOrEqualTo(80));
    assertThat(table).doesNotContain("\u001b").doesNotContain("n/a").doesNotContain("…");
    assertThat(table)
        .contains(
            "banking-intents-lora", "untrained head", "12.5%", "84.4%", "8.8x less", "training");
    assertThat(SummaryTable.of(Summary.of(SyntheticRun.small().events(), "ab"), true))
        .contains("\u001b[1m");
  }

  @Test
  void aRegressionShowsItsOwnMetric() {
    SortedMap<String, Object> summary = new TreeMap<>(Summary.of(twoRounds(), ""));
    summary.keySet().removeIf(key -> key.endsWith(".accuracy"));
    summary.put("final.spearman", 0.8123);
    summary.put("name", "odd\u001b[31m name");

    assertThat(SummaryTable.of(summary))
        .contains("Spearman on the test data", "0.812", "odd?[31m name")
        .doesNotContain("\u001b");
  }
}
