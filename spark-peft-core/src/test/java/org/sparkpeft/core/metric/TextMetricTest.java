package org.sparkpeft.core.metric;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.InputStream;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.sparkpeft.core.error.FormatException;

/** Figures against those of rouge-score and jiwer, by {@code text_metrics.py}, and by hand. */
class TextMetricTest {
  private static final List<TextMetric> ALL = List.of(TextMetric.values());

  private static JsonNode golden() throws IOException {
    try (InputStream in = TextMetricTest.class.getResourceAsStream("/metric/text_metrics.json")) {
      return new ObjectMapper().readTree(in);
    }
  }

  private static double value(TextMetric metric, String said, String reference) {
    return TextScores.of(List.of(metric))
        .with(said, reference)
        .values()
        .getOrDefault(metric.configName(), Double.NaN);
  }

  @Test
  void rougeAndWordErrorsAreThoseOfThePythonLibraries() throws IOException {
    JsonNode golden = golden();
    assertThat(golden.get("cases").size()).isEqualTo(45);
    TextScores scores = TextScores.of(ALL);
    for (JsonNode one : golden.get("cases")) {
      String said = one.get("said").asText();
      String reference = one.get("reference").asText();
      assertThat(value(TextMetric.ROUGE_L, said, reference))
          .as("rouge of %s", one)
          .isCloseTo(one.get("rouge_l").doubleValue(), within(1e-9));
      assertThat(value(TextMetric.WER, said, reference))
          .as("wer of %s", one)
          .isCloseTo(one.get("wer").doubleValue(), within(1e-12));
      scores = scores.with(said, reference);
    }
    assertThat(scores.texts()).isEqualTo(45);
    assertThat(scores.values().get("rouge_l"))
        .isCloseTo(golden.at("/all/rouge_l").doubleValue(), within(1e-9));
    assertThat(scores.values().get("wer"))
        .isCloseTo(golden.at("/all/wer").doubleValue(), within(1e-12));
  }

  @Test
  void scoresDoNotDependOnTheOrderOfTexts() throws IOException {
    List<TextScores> single = new ArrayList<>();
    golden()
        .get("cases")
        .forEach(
            one ->
                single.add(
                    TextScores.of(ALL)
                        .with(one.get("said").asText(), one.get("reference").asText())));
    TextScores forward = sum(single);
    Collections.shuffle(single, new Random(3));
    TextScores shuffled = sum(single);
    assertThat(shuffled.values()).isEqualTo(forward.values());
    assertThat(shuffled.texts()).isEqualTo(forward.texts());
  }

  private static TextScores sum(List<TextScores> parts) {
    TextScores sum = TextScores.of(ALL);
    for (TextScores part : parts) {
      sum = sum.plusBytes(part.toBytes());
    }
    return sum;
  }

  @Test
  void differentMetricsDoNotAddUp() {
    TextScores one = TextScores.of(List.of(TextMetric.WER));
    assertThatExceptionOfType(FormatException.class)
        .isThrownBy(() -> one.plusBytes(TextScores.of(ALL).toBytes()))
        .withMessageContaining("must be 24 bytes for [WER], got 72");
  }

  @ParameterizedTest
  @CsvSource(
      value = {
        "ˈAkas|ˈAkas|1",
        "'  a \u00a0 b\n'|a b|1",
        "A b|a b|0",
        "a b.|a b|0",
        "ab|a b|0",
      },
      delimiter = '|',
      ignoreLeadingAndTrailingWhitespace = false)
  void exactMatchKnowsNoWhiteSpaceButCase(String said, String reference, int same) {
    assertThat(value(TextMetric.EXACT_MATCH, said, reference)).isEqualTo(same);
  }

  @ParameterizedTest
  @CsvSource(
      value = {
        "She has 3 + 4 = 7 apples. #### 7|#### 7|1",
        "The answer is $1,250.00|#### 1250|1",
        "#### 7 and then 8 more #### 9|#### 9|1",
        "#### 12 apples, 3 left|#### 3|1",
        "5-3|#### 3|1",
        "it is -3|#### -3|1",
        "(4)-3|#### 3|1",
        "-$5|-5|1",
        "0.50|.5|1",
        "7|8|0",
        "no number|#### 8|0",
        "no number|none either|0",
        "8|#### |0",
        "x12 3.|3|1",
      },
      delimiter = '|')
  void gsm8kAnswersAreComparedByTheirLastNumber(String said, String reference, int same) {
    assertThat(value(TextMetric.GSM8K, said, reference)).as(said).isEqualTo(same);
  }

  @Test
  void aLongRunOfDigitsIsNoNumber() {
    String digits = "9".repeat(100_000);
    assertThat(value(TextMetric.GSM8K, digits, digits)).isZero();
  }

  @Test
  void namesAreThoseOfRecipes() {
    assertThat(TextMetric.names()).containsExactly("exact_match", "gsm8k", "rouge_l", "wer");
    assertThat(TextMetric.named("rouge_l")).contains(TextMetric.ROUGE_L);
    assertThat(TextMetric.named("bleu")).isEmpty();
    assertThat(ALL.stream().filter(TextMetric::isError)).containsExactly(TextMetric.WER);
  }
}
