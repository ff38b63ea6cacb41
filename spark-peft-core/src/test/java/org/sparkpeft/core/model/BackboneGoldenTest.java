package org.sparkpeft.core.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.sparkpeft.core.testing.SharedFiles.find;
import static org.sparkpeft.core.testing.SharedFiles.floats;
import static org.sparkpeft.core.testing.SharedFiles.ints;
import static org.sparkpeft.core.testing.SharedFiles.json;
import static org.sparkpeft.core.testing.SharedFiles.tokens;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.io.ModelDirectory;

/** Outputs of the Hugging Face implementation, for small random models and for MiniLM. */
class BackboneGoldenTest {
  private static final ComputeDevice CPU = ComputeDevice.cpu();

  @Test
  void miniLmHiddenStatesAndSentenceEmbeddings() {
    ModelDirectory directory = ModelDirectory.open(find("models/all-MiniLM-L6-v2"));
    JsonNode golden = json("models/all-MiniLM-L6-v2/golden.json");
    List<int[]> sequences = new ArrayList<>();
    golden.get("cases").forEach(c -> sequences.add(ints(c.get("input_ids"))));
    CPU.bindThread();
    try (Backbone model = Backbones.load(directory, CPU);
        NDManager step = CPU.newManager()) {
      TokenBatch batch = TokenBatch.of(sequences, model.config().padId());
      NDArray hidden = model.forward(step, batch, Tuning.NONE);
      NDArray pooled = model.features(step, hidden, batch, Tuning.NONE);
      for (int row = 0; row < sequences.size(); row++) {
        JsonNode expected = golden.get("cases").get(row).get("fp16_weights");
        int length = sequences.get(row).length;
        float[] states = hidden.get(row).toFloatArray();
        assertThat(Arrays.copyOf(states, 16))
            .usingComparatorWithPrecision(1e-4f)
            .containsExactly(floats(expected.get("cls_last_hidden_first16")));
        double sum = 0;
        for (int i = 0; i < length * 384; i++) {
          sum += states[i];
        }
        assertThat(sum)
            .isCloseTo(
                expected.get("last_hidden_sum").doubleValue(), Offset.offset(1e-5 * length * 384));
        float[] mean = pooled.get(row).toFloatArray();
        double norm = 0;
        for (float m : mean) {
          norm += (double) m * m;
        }
        float[] embedding = new float[16];
        for (int i = 0; i < 16; i++) {
          embedding[i] = (float) (mean[i] / Math.sqrt(norm));
        }
        assertThat(embedding)
            .usingComparatorWithPrecision(1e-4f)
            .containsExactly(floats(expected.get("embedding_first16")));
      }
    }
  }

  @Test
  void bertWithoutHead() {
    check("bert-model", HeadConfig.NO_HEAD);
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "bert-sequence-classification",
        "roberta-sequence-classification",
        "xlm-roberta-sequence-classification",
        "distilbert-sequence-classification"
      })
  void sequenceClassification(String fixture) {
    int labels = fixture.startsWith("xlm") ? 2 : 3;
    check(fixture, new HeadConfig(HeadConfig.Kind.SEQUENCE, labels));
  }

  @Test
  void tokenClassification() {
    check("bert-token-classification", new HeadConfig(HeadConfig.Kind.TOKEN, 5));
  }

  private static void check(String fixture, HeadConfig head) {
    String folder = "golden/architectures/" + fixture;
    CPU.bindThread();
    try (Backbone model = Backbones.load(ModelDirectory.open(find(folder)), CPU, head)) {
      for (JsonNode c : json(folder + "/golden.json").get("cases")) {
        TokenBatch batch = batch(c.get("inputs"), model.config().padId());
        try (NDManager step = CPU.newManager()) {
          NDArray out = model.forward(step, batch, Tuning.NONE);
          boolean perToken = head.kind() != HeadConfig.Kind.SEQUENCE;
          String name = "last_hidden_state";
          if (head.kind() != HeadConfig.Kind.NONE) {
            out = model.logits(model.features(step, out, batch, Tuning.NONE), Tuning.NONE);
            name = "logits";
          }
          float[] expected = floats(c.get("outputs").get(name).get("values"));
          float[] actual = out.toFloatArray();
          assertThat(actual).hasSameSizeAs(expected);
          int rowSize = actual.length / batch.size();
          for (int i = 0; i < actual.length; i++) {
            int token = i % rowSize / (rowSize / batch.width() == 0 ? 1 : rowSize / batch.width());
            if (!perToken || token < batch.length(i / rowSize)) {
              assertThat(actual[i])
                  .as("%s %s value %d", fixture, c.get("name").asText(), i)
                  .isCloseTo(expected[i], Offset.offset(2e-5f));
            }
          }
        }
      }
    }
  }

  private static TokenBatch batch(JsonNode inputs, int padId) {
    List<int[]> sequences = new ArrayList<>();
    List<int[]> types = new ArrayList<>();
    for (int row = 0; row < inputs.get("input_ids").size(); row++) {
      JsonNode mask = inputs.get("attention_mask").get(row);
      sequences.add(tokens(inputs.get("input_ids").get(row), mask));
      if (inputs.has("token_type_ids")) {
        types.add(tokens(inputs.get("token_type_ids").get(row), mask));
      }
    }
    return TokenBatch.of(sequences, types, padId);
  }
}
