package org.sparkpeft.tests.quickstart;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.sparkpeft.tests.support.Project;
import org.sparkpeft.tests.support.SparkPeftProcess;

/** The quickstart as a newcomer runs it, on the model and data that come with the project. */
class QuickstartTest {
  private static final Pattern PERCENT = Pattern.compile("(\\d+\\.\\d)%");

  @TempDir static Path folder;
  private static Path run;
  private static JsonNode summary;
  private static String printed;

  @BeforeAll
  static void quickstart() {
    run = folder.resolve("run");
    try (SparkPeftProcess process =
        SparkPeftProcess.startLong(
                folder.resolve("scratch"), "quickstart", "--set", "run.dir=" + run)
            .within(Duration.ofMinutes(9))) {
      summary = process.summary(run);
      printed = process.output();
    }
  }

  private static double accuracy(String what) {
    return summary.get(what + ".accuracy").asDouble();
  }

  @Test
  void learnsAsWellAsCentralTraining() {
    assertThat(accuracy("final")).isGreaterThanOrEqualTo(0.88);
    assertThat(accuracy("final")).isGreaterThanOrEqualTo(accuracy("central") - 0.02);
    assertThat(accuracy("final")).isGreaterThanOrEqualTo(accuracy("baseline") + 0.2);
    assertThat(accuracy("head_only")).isGreaterThan(accuracy("baseline"));
  }

  @Test
  void paysLittleMoreThanTheEntropyOfItsUpdates() {
    assertThat(summary.get("uplink.bits_per_parameter").asDouble())
        .isLessThan(1.03 * summary.get("uplink.entropy_bound_bits_per_parameter").asDouble());
  }

  @Test
  void printsWhatTheSummaryHolds() {
    for (String[] row :
        new String[][] {
          {"untrained head", "baseline"},
          {"head only", "head_only"},
          {"federated", "final"},
          {"central training", "central"}
        }) {
      assertThat(row(printed, row[0]))
          .contains(String.format(Locale.ROOT, "%.1f%%", 100 * accuracy(row[1])));
    }
    assertThat(printed)
        .contains(run.resolve("adapter").toString())
        .contains(run.resolve("report.html").toString());
  }

  private static String row(String table, String label) {
    List<String> rows =
        table.lines().filter(line -> line.strip().startsWith(label + "  ")).toList();
    assertThat(rows).as(label).hasSize(1);
    return rows.get(0);
  }

  /** What the README shows of the quickstart is what it prints; times differ from run to run. */
  @Test
  void theReadmeShowsThisTable() throws IOException {
    String readme = Files.readString(Project.root().resolve("README.md"));
    Matcher block = Pattern.compile("```\\n(quickstart\\n.*?)```", Pattern.DOTALL).matcher(readme);
    assertThat(block.find()).isTrue();
    List<String> shown = labels(block.group(1));
    assertThat(labels(printed)).containsSubsequence(shown);
    for (String label : List.of("untrained head", "head only", "federated", "central training")) {
      assertThat(percent(row(block.group(1), label)))
          .as(label)
          .isBetween(percent(row(printed, label)) - 2, percent(row(printed, label)) + 2);
    }
  }

  private static List<String> labels(String table) {
    return table
        .lines()
        .map(line -> line.strip().split(" {2,}")[0])
        .filter(label -> !label.isEmpty() && !label.startsWith("adapter") && !label.contains("/"))
        .filter(label -> !label.matches(".*\\d.*"))
        .toList();
  }

  private static double percent(String row) {
    Matcher percent = PERCENT.matcher(row);
    assertThat(percent.find()).as(row).isTrue();
    return Double.parseDouble(percent.group(1));
  }

  @Test
  void leavesAReportThatNeedsNothingElse() throws IOException {
    String report = Files.readString(run.resolve("report.html"));
    assertThat(report).contains("<svg").doesNotContain("src=\"http").doesNotContain("<script src");
    assertThat(run.resolve("adapter/adapter_model.safetensors")).isNotEmptyFile();
    assertThat(run.resolve("config.yaml")).isNotEmptyFile();
  }
}
