package org.sparkpeft.core.text;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.sparkpeft.core.testing.SharedFiles.find;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.io.ModelDirectory;

class VocabularyTest {

  private static Vocabulary vocabulary(String name, String json) throws IOException {
    return Vocabulary.of(Path.of(name), json.getBytes(StandardCharsets.UTF_8));
  }

  @Test
  void readsTokensByIdHoweverTheyAreWritten() throws IOException {
    Vocabulary words =
        vocabulary(
            "w",
            "{\"model\": {\"vocab\": {\"b\": 1, \"a\": 0}}, \"added_tokens\": [{\"id\": 3, \"content\": \"<x>\"}]}");
    assertThat(words.tokens().values()).containsExactly("a", "b", "<x>");
    assertThat(words.largest()).isEqualTo(3);
    Vocabulary unigram = vocabulary("u", "{\"model\": {\"vocab\": [[\"a\", -1.5], [\"b\", -2]]}}");
    assertThat(unigram.tokens().values()).containsExactly("a", "b");
    assertThatThrownBy(() -> vocabulary("n", "{}"))
        .isInstanceOf(FormatException.class)
        .hasMessageContaining("has no vocabulary");
  }

  @Test
  void differencesAreNamed() throws IOException {
    Vocabulary one = vocabulary("one", "{\"model\": {\"vocab\": [[\"a\", 0], [\"b\", 0]]}}");
    one.requireSame(vocabulary("same", "{\"model\": {\"vocab\": {\"a\": 0, \"b\": 1}}}"), "proxy");
    Vocabulary two =
        vocabulary(
            "two", "{\"model\": {\"vocab\": {\"a\": 0, \"c\": 1, \"d\": 2, \"e\": 3, \"f\": 4}}}");
    assertThatThrownBy(() -> one.requireSame(two, "proxy"))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("proxy")
        .hasMessageContaining("one has 2 tokens, two has 5, and 4 ids differ")
        .hasMessageContaining(
            "id 1 is \"b\" and \"c\", id 2 is nothing and \"d\", id 3 is nothing and \"e\", ...");
  }

  @Test
  void modelsAreCompared() {
    ModelDirectory american = ModelDirectory.open(find("models/bart-g2p-us"));
    ModelDirectory british = ModelDirectory.open(find("models/bart-g2p-gb"));
    ModelDirectory stories = ModelDirectory.open(find("models/stories260K"));
    TextTokenizer.requireSameTokens(stories, stories, "proxy");
    assertThatThrownBy(() -> TextTokenizer.requireSameTokens(american, british, "proxy"))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("id 6 is \"O\" and \"Q\"");
    assertThatThrownBy(() -> TextTokenizer.requireSameTokens(american, stories, "proxy"))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("has 59 tokens")
        .hasMessageContaining("has 512");
  }
}
