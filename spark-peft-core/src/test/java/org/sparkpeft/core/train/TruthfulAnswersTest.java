package org.sparkpeft.core.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.sparkpeft.core.testing.SharedFiles.find;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.zip.GZIPInputStream;
import org.junit.jupiter.api.Test;
import org.sparkpeft.core.data.Examples;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.peft.LoraConfig;
import org.sparkpeft.core.peft.TargetModules;
import org.sparkpeft.core.text.TextTokenizer;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * True answers of TruthfulQA are preferred to false ones by a Llama of 260,000 parameters that was
 * taught to tell stories. It cannot know what is true, but how careful answers sound carries over
 * to questions it has not seen: the test pairs are of other questions than the training pairs.
 */
class TruthfulAnswersTest {
  private static final int MAX_LENGTH = 128;
  private static final int TRAIN_PAIRS = 600;
  private static final int TEST_PAIRS = 300;

  private static final LoraConfig LORA =
      new LoraConfig(
          8,
          16,
          0,
          TargetModules.fromConfig(TargetModules.ALL_LINEAR),
          List.of(),
          false,
          "true",
          Map.of(),
          Map.of(),
          List.of(),
          List.of());

  private static final TrainConfig TRAIN =
      new TrainConfig(
          1, 0, 8, 1, "adamw", 2e-3, 0, 0.9, 0.999, 1e-8, 1, "cosine", "federation", 0.1, true);

  private static Examples pairs(TextTokenizer tokenizer, String name, int every, int most)
      throws IOException {
    Examples.Builder builder = Examples.builder();
    ObjectMapper json = new ObjectMapper();
    int row = 0;
    int kept = 0;
    try (InputStream in =
        new GZIPInputStream(
            Files.newInputStream(find("data/truthfulqa-preferences/" + name + ".jsonl.gz")))) {
      for (String line : new String(in.readAllBytes(), StandardCharsets.UTF_8).lines().toList()) {
        JsonNode pair = json.readTree(line);
        int[] prompt = tokenizer.encode(pair.get("prompt").asText());
        int[] chosen = followed(tokenizer, prompt, pair.get("chosen").asText());
        int[] rejected = followed(tokenizer, prompt, pair.get("rejected").asText());
        boolean fits = Math.max(chosen.length, rejected.length) <= MAX_LENGTH;
        if (row++ % every == 0 && fits && !Arrays.equals(chosen, rejected) && kept++ < most) {
          builder.addPreference(chosen, rejected, prompt.length);
        }
      }
    }
    return builder.build();
  }

  private static int[] followed(TextTokenizer tokenizer, int[] prompt, String completion) {
    int[] more = tokenizer.encodeContinuation(completion);
    int[] all = Arrays.copyOf(prompt, prompt.length + more.length + 1);
    System.arraycopy(more, 0, all, prompt.length, more.length);
    all[all.length - 1] = tokenizer.endOfText();
    return all;
  }

  @Test
  void dpoPrefersTrueAnswersToQuestionsItHasNotSeen() throws IOException {
    ModelDirectory directory = ModelDirectory.open(find("models/stories260K"));
    TaskConfig task = new TaskConfig("dpo", List.of(), "auto", MAX_LENGTH);
    try (TextTokenizer tokenizer = TextTokenizer.open(directory, 512);
        TunableModel model = TunableModel.load(directory, task, LORA, ComputeDevice.cpu())) {
      Examples train = pairs(tokenizer, "train", 3, TRAIN_PAIRS);
      Examples test = pairs(tokenizer, "test", 2, TEST_PAIRS);
      LocalTrainer trainer = new LocalTrainer(model, TRAIN);
      ParameterVector start = model.initialParameters(7);
      Evaluation before = trainer.evaluate(start, test);
      assertThat(before.accuracy()).isEqualTo(0.5);
      ParameterVector tuned = trainer.train(start, train, LocalPlan.alone(7)).parameters();
      Evaluation after = trainer.evaluate(tuned, test);
      assertThat(after.items()).isGreaterThan(250);
      assertThat(after.accuracy()).as("%s", after).isGreaterThan(0.65);
      assertThat(after.loss()).isLessThan(before.loss());
    }
  }
}
