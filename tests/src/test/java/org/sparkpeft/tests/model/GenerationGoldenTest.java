package org.sparkpeft.tests.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.model.Backbone;
import org.sparkpeft.core.model.Backbones;
import org.sparkpeft.core.model.HeadConfig;
import org.sparkpeft.core.model.KeyValueCache;
import org.sparkpeft.core.model.TokenBatch;
import org.sparkpeft.core.model.Tuning;
import org.sparkpeft.tests.support.Project;

/**
 * The words that Hugging Face's decoders continue a text with, one after the other, when each pass
 * reads only what is new and takes the rest from the cache.
 */
class GenerationGoldenTest {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final ComputeDevice CPU = ComputeDevice.cpu();

  @TestFactory
  Stream<DynamicTest> sameWords() throws IOException {
    Path golden = Project.shared("golden/architectures");
    assumeTrue(Files.isDirectory(golden), () -> golden + " is not there");
    String only = System.getProperty("golden.case", ".*");
    List<DynamicTest> tests = new ArrayList<>();
    try (Stream<Path> folders = Files.list(golden)) {
      for (Path folder :
          folders
              .filter(path -> Files.exists(path.resolve("config.json")))
              .filter(path -> path.getFileName().toString().matches(only))
              .sorted()
              .toList()) {
        JsonNode values = JSON.readTree(folder.resolve("golden.json").toFile());
        ModelDirectory directory = ModelDirectory.open(folder);
        boolean decoder = values.has("generation") && !values.has("decoder_inputs_from_labels");
        if (decoder
            && Backbones.supported().contains(directory.config().path("model_type").asText())) {
          tests.add(
              DynamicTest.dynamicTest(
                  folder.getFileName().toString(),
                  () -> check(directory, values.get("generation"))));
        }
      }
    }
    assertThat(tests).as("decoders in " + golden).isNotEmpty();
    return tests.stream();
  }

  private static void check(ModelDirectory directory, JsonNode runs) {
    boolean countsItself = directory.config().path("model_type").asText().equals("opt");
    int greedy = 0;
    CPU.bindThread();
    try (Backbone model = Backbones.load(directory, CPU, HeadConfig.LANGUAGE)) {
      for (JsonNode run : runs) {
        if (run.path("settings").path("greedy").asBoolean()) {
          greedy++;
          ArchitectureCase one = new ArchitectureCase(run, model.config().padId());
          TokenBatch prompt = (TokenBatch) one.input(Optional.empty());
          assertThat(continued(model, prompt, run.get("sequences"), countsItself))
              .as(one.name())
              .isEqualTo(run.get("sequences").toString());
        }
      }
    }
    assertThat(greedy).as("greedy runs").isPositive();
  }

  /** The prompt and the words after it, as JSON. */
  private static String continued(
      Backbone model, TokenBatch prompt, JsonNode sequences, boolean countsItself) {
    int words = sequences.get(0).size() - prompt.width();
    List<List<Integer>> rows = new ArrayList<>();
    int[] ids = prompt.flatIds();
    for (int row = 0; row < prompt.size(); row++) {
      List<Integer> line = new ArrayList<>();
      for (int t = 0; t < prompt.width(); t++) {
        line.add(ids[row * prompt.width() + t]);
      }
      rows.add(line);
    }
    try (NDManager manager = CPU.newManager();
        KeyValueCache cache = KeyValueCache.open(manager)) {
      TokenBatch next = prompt;
      for (int word = 0; word <= words; word++) {
        TokenBatch placed = countsItself ? next : next.withPositions(places(prompt, next, word));
        List<int[]> chosen = new ArrayList<>();
        try (NDManager step = CPU.newManager()) {
          NDArray hidden = model.forward(step, placed, Tuning.NONE, cache);
          NDArray logits = model.logits(hidden, Tuning.NONE); // [batch, seq, words]
          long[] best = logits.argMax(2).toLongArray();
          for (int row = 0; row < rows.size(); row++) {
            chosen.add(new int[] {(int) best[(row + 1) * placed.width() - 1]});
          }
        }
        if (word < words) {
          for (int row = 0; row < rows.size(); row++) {
            rows.get(row).add(chosen.get(row)[0]);
          }
          next = TokenBatch.of(chosen, model.config().padId());
        }
      }
    }
    return rows.toString().replace(" ", "");
  }

  /** Positions of the prompt's tokens without its padding, or of the word after so many. */
  private static int[][] places(TokenBatch prompt, TokenBatch next, int word) {
    int[][] places = new int[next.size()][next.width()];
    for (int row = 0; row < places.length; row++) {
      for (int t = 0; t < next.width(); t++) {
        places[row][t] =
            word == 0 ? Math.max(0, t - prompt.start(row)) : prompt.length(row) + word - 1;
      }
    }
    return places;
  }
}
