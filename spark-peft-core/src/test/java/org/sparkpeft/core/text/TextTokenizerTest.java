package org.sparkpeft.core.text;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.sparkpeft.core.testing.SharedFiles.find;
import static org.sparkpeft.core.testing.SharedFiles.ints;
import static org.sparkpeft.core.testing.SharedFiles.json;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.io.ModelDirectory;

class TextTokenizerTest {
  private static ModelDirectory miniLm() {
    return ModelDirectory.open(find("models/all-MiniLM-L6-v2"));
  }

  @Test
  void givesTheReferenceIdsWithoutPadding() {
    try (TextTokenizer tokenizer = TextTokenizer.open(miniLm(), 128)) {
      json("models/all-MiniLM-L6-v2/golden.json")
          .get("cases")
          .forEach(
              c ->
                  assertThat(tokenizer.encode(c.get("text").asText()))
                      .as(c.get("text").asText())
                      .containsExactly(ints(c.get("input_ids"))));
      assertThat(tokenizer.encode("")).containsExactly(101, 102);
    }
  }

  @Test
  void cutsLongTextsAndKeepsTheSpecialTokens() {
    String text = "a cat sits ".repeat(200);
    try (TextTokenizer tokenizer = TextTokenizer.open(miniLm(), 9);
        TextTokenizer wide = TextTokenizer.open(miniLm(), 512)) {
      assertThat(tokenizer.encode(text))
          .containsExactly(101, 1037, 4937, 7719, 1037, 4937, 7719, 1037, 102);
      assertThat(wide.encode(text)).hasSize(512).endsWith(102);
    }
  }

  @Test
  void severalThreadsMayEncodeAtOnce() {
    List<String> texts = new ArrayList<>();
    for (int i = 0; i < 200; i++) {
      texts.add("word number " + i + " of a text");
    }
    try (TextTokenizer tokenizer = TextTokenizer.open(miniLm(), 32)) {
      List<int[]> alone = tokenizer.encodeAll(texts);
      List<CompletableFuture<List<int[]>>> together = new ArrayList<>();
      for (int thread = 0; thread < 3; thread++) {
        together.add(CompletableFuture.supplyAsync(() -> tokenizer.encodeAll(texts)));
      }
      for (CompletableFuture<List<int[]>> result : together) {
        for (int i = 0; i < texts.size(); i++) {
          assertThat(Arrays.equals(result.join().get(i), alone.get(i))).isTrue();
        }
      }
    }
  }

  @Test
  void refusesATokenizerOfAnotherModel(@TempDir Path folder) throws IOException {
    Path tiny = find("golden/architectures/bert-model");
    Files.copy(tiny.resolve("config.json"), folder.resolve("config.json"));
    Files.copy(tiny.resolve("model.safetensors"), folder.resolve("model.safetensors"));
    assertThatThrownBy(() -> TextTokenizer.open(ModelDirectory.open(folder), 16))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("tokenizer.json");
    Path tokenizer = find("models/all-MiniLM-L6-v2").resolve("tokenizer.json");
    Files.copy(tokenizer, folder.resolve("tokenizer.json"));
    assertThatThrownBy(() -> TextTokenizer.open(ModelDirectory.open(folder), 16))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("30521")
        .hasMessageContaining("160");
  }
}
