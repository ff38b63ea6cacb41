package org.sparkpeft.tests.support;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.sparkpeft.core.io.SafetensorsWriter;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.random.Philox;

/**
 * A two-layer BERT with random weights and a word-level vocabulary, and toy requests that it can
 * learn: training in milliseconds.
 */
public final class TinyBert {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final int HIDDEN = 16;
  private static final int LAYERS = 2;
  private static final int INTERMEDIATE = 32;
  private static final int POSITIONS = 32;

  /** Labels of the toy requests, each with words of its own. */
  public static final List<String> LABELS = List.of("greet", "leave", "order");

  private static final List<List<String>> OWN_WORDS =
      List.of(
          List.of("hello", "hi", "morning", "welcome"),
          List.of("bye", "later", "farewell", "leaving"),
          List.of("buy", "send", "want", "pay"));
  private static final List<String> COMMON_WORDS =
      List.of("the", "a", "my", "please", "now", "friend", "today", "you", "it", "again");

  private TinyBert() {}

  /** Writes the model in the Hugging Face layout. */
  public static Path write(Path folder) {
    try {
      Files.createDirectories(folder);
      List<String> vocabulary = vocabulary();
      Files.write(folder.resolve("config.json"), JSON.writeValueAsBytes(config(vocabulary.size())));
      Files.write(folder.resolve("tokenizer.json"), JSON.writeValueAsBytes(tokenizer(vocabulary)));
      SafetensorsWriter.write(
          folder.resolve("model.safetensors"), TensorData.byName(weights(vocabulary.size())));
      return folder;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /**
   * Writes toy requests as JSON lines with text, label and client.
   *
   * @param clients number of clients; each has a favourite label
   */
  public static Path writeRequests(Path file, int rows, int clients, long seed) {
    StringBuilder lines = new StringBuilder();
    for (int i = 0; i < rows; i++) {
      Philox random = Philox.of(seed, "requests", i);
      int client = (int) (random.doubleAt(0) * clients);
      int label =
          random.doubleAt(1) < 0.5
              ? client % LABELS.size()
              : (int) (random.doubleAt(2) * LABELS.size());
      List<String> words = new ArrayList<>();
      int length = 2 + (int) (random.doubleAt(3) * 7);
      int own = (int) (random.doubleAt(4) * length);
      for (int w = 0; w < length; w++) {
        List<String> from = w == own ? OWN_WORDS.get(label) : COMMON_WORDS;
        words.add(from.get((int) (random.doubleAt(5 + w) * from.size())));
      }
      lines
          .append("{\"text\": \"")
          .append(String.join(" ", words))
          .append("\", \"label\": \"")
          .append(LABELS.get(label));
      lines.append("\", \"client\": \"shop-").append(client).append("\"}\n");
    }
    try {
      Files.createDirectories(file.toAbsolutePath().getParent());
      Files.write(file, lines.toString().getBytes(StandardCharsets.UTF_8));
      return file;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static List<String> vocabulary() {
    List<String> words = new ArrayList<>(List.of("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"));
    OWN_WORDS.forEach(words::addAll);
    words.addAll(COMMON_WORDS);
    return words;
  }

  private static ObjectNode config(int vocabularySize) {
    ObjectNode config = JSON.createObjectNode();
    config.putArray("architectures").add("BertModel");
    config.put("model_type", "bert");
    config.put("hidden_size", HIDDEN);
    config.put("num_hidden_layers", LAYERS);
    config.put("num_attention_heads", 2);
    config.put("intermediate_size", INTERMEDIATE);
    config.put("hidden_act", "gelu");
    config.put("layer_norm_eps", 1e-12);
    config.put("max_position_embeddings", POSITIONS);
    config.put("type_vocab_size", 2);
    config.put("vocab_size", vocabularySize);
    config.put("pad_token_id", 0);
    config.put("initializer_range", 0.02);
    return config;
  }

  private static ObjectNode tokenizer(List<String> vocabulary) {
    ObjectNode root = JSON.createObjectNode();
    root.put("version", "1.0").putNull("truncation").putNull("padding");
    ArrayNode added = root.putArray("added_tokens");
    for (int id = 0; id < 5; id++) {
      ObjectNode token = added.addObject();
      token.put("id", id).put("content", vocabulary.get(id)).put("special", true);
      token
          .put("single_word", false)
          .put("lstrip", false)
          .put("rstrip", false)
          .put("normalized", false);
    }
    ObjectNode normalizer = root.putObject("normalizer");
    normalizer
        .put("type", "BertNormalizer")
        .put("clean_text", true)
        .put("handle_chinese_chars", true);
    normalizer.putNull("strip_accents").put("lowercase", true);
    root.putObject("pre_tokenizer").put("type", "BertPreTokenizer");
    ObjectNode post = root.putObject("post_processor");
    post.put("type", "BertProcessing");
    post.putArray("sep").add("[SEP]").add(3);
    post.putArray("cls").add("[CLS]").add(2);
    root.putObject("decoder").put("type", "WordPiece").put("prefix", "##").put("cleanup", true);
    ObjectNode model = root.putObject("model");
    model
        .put("type", "WordPiece")
        .put("unk_token", "[UNK]")
        .put("continuing_subword_prefix", "##")
        .put("max_input_chars_per_word", 100);
    ObjectNode ids = model.putObject("vocab");
    for (int id = 0; id < vocabulary.size(); id++) {
      ids.put(vocabulary.get(id), id);
    }
    return root;
  }

  private static List<TensorData> weights(int vocabularySize) {
    List<TensorData> tensors = new ArrayList<>();
    matrix(tensors, "embeddings.word_embeddings.weight", vocabularySize, HIDDEN);
    matrix(tensors, "embeddings.position_embeddings.weight", POSITIONS, HIDDEN);
    matrix(tensors, "embeddings.token_type_embeddings.weight", 2, HIDDEN);
    norm(tensors, "embeddings.LayerNorm");
    for (int layer = 0; layer < LAYERS; layer++) {
      String prefix = "encoder.layer." + layer + ".";
      linear(tensors, prefix + "attention.self.query", HIDDEN, HIDDEN);
      linear(tensors, prefix + "attention.self.key", HIDDEN, HIDDEN);
      linear(tensors, prefix + "attention.self.value", HIDDEN, HIDDEN);
      linear(tensors, prefix + "attention.output.dense", HIDDEN, HIDDEN);
      norm(tensors, prefix + "attention.output.LayerNorm");
      linear(tensors, prefix + "intermediate.dense", INTERMEDIATE, HIDDEN);
      linear(tensors, prefix + "output.dense", HIDDEN, INTERMEDIATE);
      norm(tensors, prefix + "output.LayerNorm");
    }
    linear(tensors, "pooler.dense", HIDDEN, HIDDEN);
    return tensors;
  }

  private static void linear(List<TensorData> tensors, String name, int out, int in) {
    matrix(tensors, name + ".weight", out, in);
    tensors.add(TensorData.ofFloats(name + ".bias", List.of(out), new float[out]));
  }

  private static void matrix(List<TensorData> tensors, String name, int rows, int columns) {
    float[] values = Philox.of(17, "tiny-bert", Philox.hash(name)).gaussian(rows * columns, 0.3);
    tensors.add(TensorData.ofFloats(name, List.of(rows, columns), values));
  }

  private static void norm(List<TensorData> tensors, String name) {
    float[] ones = new float[HIDDEN];
    java.util.Arrays.fill(ones, 1);
    tensors.add(TensorData.ofFloats(name + ".weight", List.of(HIDDEN), ones));
    tensors.add(TensorData.ofFloats(name + ".bias", List.of(HIDDEN), new float[HIDDEN]));
  }
}
