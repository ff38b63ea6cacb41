package org.sparkpeft.core.text;

import ai.djl.huggingface.tokenizers.HuggingFaceTokenizer;
import com.fasterxml.jackson.databind.JsonNode;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.io.ModelDirectory;

/**
 * A model's tokenizer. Special tokens are added; texts are cut to a maximum length and never
 * padded, whatever the file itself says about truncation and padding. Safe for use by several
 * threads until closed.
 */
public final class TextTokenizer implements AutoCloseable {
  private final HuggingFaceTokenizer tokenizer;
  private final int endOfText;

  private TextTokenizer(HuggingFaceTokenizer tokenizer, int endOfText) {
    this.tokenizer = tokenizer;
    this.endOfText = endOfText;
  }

  /**
   * Opens the tokenizer of a model.
   *
   * @param maxLength longest result in tokens, with special tokens
   * @throws DataException if the model has no {@code tokenizer.json}, or it knows token ids that
   *     the model does not
   * @throws FormatException if the file cannot be read
   */
  public static TextTokenizer open(ModelDirectory directory, int maxLength) {
    return open(directory, file(directory), maxLength);
  }

  static Path file(ModelDirectory directory) {
    return directory
        .tokenizer()
        .orElseThrow(
            () ->
                new DataException(
                    directory.path()
                        + " has no tokenizer.json; save the fast tokenizer beside the model"));
  }

  /**
   * Checks that two models write texts as the same numbers.
   *
   * @param key the setting that named the other one, for the message
   * @throws org.sparkpeft.core.error.ConfigException naming tokens that differ
   * @throws DataException if one has no {@code tokenizer.json}
   */
  public static void requireSameTokens(ModelDirectory base, ModelDirectory other, String key) {
    Vocabulary.of(base).requireSame(Vocabulary.of(other), key);
  }

  /**
   * Opens another tokenizer for a model, such as one of what its decoder says.
   *
   * @param file a {@code tokenizer.json}
   * @param maxLength longest result in tokens, with special tokens
   * @throws DataException if it is not there or knows token ids that the model does not
   * @throws FormatException if the file cannot be read
   */
  public static TextTokenizer open(ModelDirectory directory, Path file, int maxLength) {
    if (!Files.isRegularFile(file)) {
      throw new DataException(file + " is not there; name a tokenizer.json");
    }
    try {
      byte[] json = Files.readAllBytes(file);
      requireFits(file, json, directory.config().path("vocab_size"));
      Map<String, String> options =
          Map.of(
              "addSpecialTokens", "true",
              "truncation", "true",
              "padding", "false",
              "maxLength", Integer.toString(maxLength),
              "modelMaxLength", Integer.toString(maxLength));
      return new TextTokenizer(
          HuggingFaceTokenizer.newInstance(new ByteArrayInputStream(json), options),
          endOfText(directory.config()));
    } catch (IOException e) {
      throw new FormatException(file.toString(), "cannot be read", e);
    }
  }

  /** {@code eos_token_id}, the first of several; -1 when there is none. */
  private static int endOfText(JsonNode config) {
    JsonNode id = config.path("eos_token_id");
    return (id.isArray() ? id.path(0) : id).asInt(-1);
  }

  /** The token that ends a text; -1 when the model has none. */
  public int endOfText() {
    return endOfText;
  }

  /** The largest id of the tokenizer must be a row of the model's embedding. */
  private static void requireFits(Path file, byte[] json, JsonNode vocabulary) throws IOException {
    int largest = Vocabulary.of(file, json).largest();
    if (vocabulary.isInt() && largest >= vocabulary.intValue()) {
      throw new DataException(
          file
              + " has token ids up to "
              + largest
              + ", the model knows "
              + vocabulary.intValue()
              + " tokens; use the tokenizer that belongs to the model");
    }
  }

  /** Token ids of one text, special tokens included. */
  public int[] encode(String text) {
    return ints(tokenizer.encode(text).getIds());
  }

  /** Token ids of a text that continues another, without special tokens. */
  public int[] encodeContinuation(String text) {
    return ints(tokenizer.encode(text, false, false).getIds());
  }

  private static int[] ints(long[] ids) {
    int[] tokens = new int[ids.length];
    for (int i = 0; i < ids.length; i++) {
      tokens[i] = Math.toIntExact(ids[i]);
    }
    return tokens;
  }

  /**
   * Token ids of each text, in order. On the calling thread alone: the library's own batch call
   * would take every core of the machine.
   */
  public List<int[]> encodeAll(List<String> texts) {
    List<int[]> encoded = new ArrayList<>(texts.size());
    for (String text : texts) {
      encoded.add(encode(text));
    }
    return encoded;
  }

  /** The text of token ids, without special tokens. */
  public String decode(int[] ids) {
    return tokenizer.decode(Arrays.stream(ids).asLongStream().toArray(), true);
  }

  @Override
  public void close() {
    tokenizer.close();
  }
}
