package org.sparkpeft.core.generate;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.List;
import java.util.stream.Stream;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;
import org.sparkpeft.core.testing.SharedFiles;

/** Scores and probabilities as Hugging Face's processors make them. */
class LogitsProcessorGoldenTest {

  @TestFactory
  Stream<DynamicTest> sameScores() {
    JsonNode golden =
        SharedFiles.json("golden/architectures/building-blocks/logits_processing.json");
    assertThat(golden.get("processors").size()).isGreaterThan(10);
    return golden
        .get("processors")
        .valueStream()
        .map(
            one ->
                DynamicTest.dynamicTest(
                    one.get("apply_in_order").toString(), () -> check(golden, one)));
  }

  private static void check(JsonNode golden, JsonNode one) {
    for (int row = 0; row < golden.get("scores").size(); row++) {
      int[] tokens = SharedFiles.ints(golden.get("input_ids").get(row));
      LogitsProcessor.Text text = new LogitsProcessor.Text(tokens, tokens.length, 9);
      float[] scores = SharedFiles.floats(golden.get("scores").get(row));
      for (JsonNode name : one.get("apply_in_order")) {
        processor(name.asText().split(" ")).apply(text, scores);
      }
      JsonNode expected = one.get("scores").get(row);
      double[] probabilities = Warpers.probabilities(scores);
      for (int i = 0; i < scores.length; i++) {
        if (expected.get(i).isTextual()) {
          assertThat(scores[i]).as("score %d of row %d", i, row).isEqualTo(Float.NEGATIVE_INFINITY);
        } else {
          assertThat(scores[i])
              .as("score %d of row %d", i, row)
              .isCloseTo(expected.get(i).floatValue(), Offset.offset(1e-6f));
        }
        assertThat(probabilities[i])
            .isCloseTo(one.get("probabilities").get(row).get(i).doubleValue(), Offset.offset(1e-6));
      }
    }
  }

  private static LogitsProcessor processor(String[] words) {
    double value = Double.parseDouble(words[1]);
    return switch (words[0]) {
      case "temperature" -> Warpers.temperature((float) value);
      case "top_k" -> Warpers.topK((int) value);
      case "top_p" -> Warpers.topP(value, words.length > 2 ? Integer.parseInt(words[3]) : 1);
      case "min_p" -> Warpers.minP(value);
      case "typical_p" -> Warpers.typicalP(value);
      case "epsilon_cutoff" -> Warpers.epsilonCutoff(value);
      case "eta_cutoff" -> Warpers.etaCutoff(value);
      case "repetition_penalty" -> Rules.repetitionPenalty((float) value);
      case "no_repeat_ngram_size" -> Rules.noRepeatedNgram((int) value);
      case "min_length" -> Rules.minLength((int) value, List.of(Integer.parseInt(words[3])));
      default -> throw new IllegalArgumentException(words[0]);
    };
  }
}
