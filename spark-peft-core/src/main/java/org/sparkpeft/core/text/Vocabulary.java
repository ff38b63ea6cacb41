package org.sparkpeft.core.text;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.TreeSet;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.io.ModelDirectory;

/**
 * The tokens of a {@code tokenizer.json} by their ids.
 *
 * @param file where they were read, for messages
 * @param tokens the added ones included
 */
record Vocabulary(Path file, SortedMap<Integer, String> tokens) {
  /** Differences that a message names. */
  private static final int SHOWN = 3;

  Vocabulary {
    tokens = Collections.unmodifiableSortedMap(new TreeMap<>(tokens));
  }

  /**
   * @param json content of the file
   * @throws FormatException if it has no vocabulary
   */
  static Vocabulary of(Path file, byte[] json) throws IOException {
    JsonNode root = new ObjectMapper().readTree(json);
    JsonNode vocab = root.path("model").path("vocab");
    SortedMap<Integer, String> tokens = new TreeMap<>();
    if (vocab.isArray()) {
      for (JsonNode entry : vocab) {
        tokens.put(tokens.size(), entry.path(0).asText());
      }
    }
    vocab.properties().forEach(entry -> tokens.put(entry.getValue().asInt(), entry.getKey()));
    for (JsonNode added : root.path("added_tokens")) {
      tokens.put(added.path("id").asInt(), added.path("content").asText());
    }
    if (tokens.isEmpty()) {
      throw new FormatException(file.toString(), "has no vocabulary; save the tokenizer again");
    }
    return new Vocabulary(file, tokens);
  }

  /**
   * @throws DataException if the model has no {@code tokenizer.json}
   */
  static Vocabulary of(ModelDirectory directory) {
    Path file = TextTokenizer.file(directory);
    try {
      return of(file, Files.readAllBytes(file));
    } catch (IOException e) {
      throw new FormatException(file.toString(), "cannot be read", e);
    }
  }

  /** The largest id. */
  int largest() {
    return tokens.lastKey();
  }

  /**
   * @param key the setting that named the other one, for the message
   * @throws ConfigException if an id is another token there, or none
   */
  void requireSame(Vocabulary other, String key) {
    List<String> differences = new ArrayList<>();
    TreeSet<Integer> ids = new TreeSet<>(tokens.keySet());
    ids.addAll(other.tokens.keySet());
    int count = 0;
    for (int id : ids) {
      String one = shown(tokens, id);
      String two = shown(other.tokens, id);
      if (!one.equals(two)) {
        count++;
        if (differences.size() < SHOWN) {
          differences.add("id %d is %s and %s".formatted(id, one, two));
        }
      }
    }
    if (count > 0) {
      throw new ConfigException(
          key,
          "must have the tokens of the base; %s has %d tokens, %s has %d, and %d ids differ: %s; use models of one family"
              .formatted(
                  file,
                  tokens.size(),
                  other.file,
                  other.tokens.size(),
                  count,
                  String.join(", ", differences) + (count > SHOWN ? ", ..." : "")));
    }
  }

  private static String shown(SortedMap<Integer, String> tokens, int id) {
    return tokens.containsKey(id) ? "\"" + tokens.get(id) + "\"" : "nothing";
  }
}
