package org.sparkpeft.core.text;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.io.ModelDirectory;

/**
 * How the turns of a conversation become one text: the templates that most chat models share. A
 * model's own template, a Jinja program, is recognised by what it writes, not run.
 */
public enum ChatTemplate {
  /** {@code <|im_start|>role\ncontent<|im_end|>\n}, of Qwen2 and many more. */
  CHATML("<|im_start|>%s\n", "<|im_end|>", "\n"),
  /** {@code <|start_header_id|>role<|end_header_id|>\n\ncontent<|eot_id|>}, of Llama 3. */
  LLAMA_3("<|start_header_id|>%s<|end_header_id|>\n\n", "<|eot_id|>", ""),
  /** {@code <s>[INST] content [/INST] content </s>}, of Llama 2. */
  LLAMA_2("", "", ""),
  /** {@code <start_of_turn>role\ncontent<end_of_turn>\n} without a system turn, of Gemma. */
  GEMMA("<start_of_turn>%s\n", "<end_of_turn>", "\n"),
  /** {@code <|role|>\ncontent<|end|>\n}, of Phi-3. */
  PHI_3("<|%s|>\n", "<|end|>", "\n"),
  /**
   * {@code <|role|>\ncontent}, the token that ends texts, a line feed: of Zephyr. It needs no
   * tokens of its own, so it serves models without a template.
   */
  ZEPHYR("<|%s|>\n", "", "\n");

  /** A turn of a conversation; roles are {@code system}, {@code user} and {@code assistant}. */
  public record Turn(String role, String content) {}

  /**
   * A stretch of the text of a conversation.
   *
   * @param text what is written
   * @param starts whether the text's first tokens, such as {@code <s>}, come before it
   * @param ends whether the token that ends texts follows
   * @param said whether the assistant says it, its end included
   */
  public record Piece(String text, boolean starts, boolean ends, boolean said) {}

  /**
   * What a model's own template writes.
   *
   * @param template the template it is
   * @param system the system turn of conversations that have none of their own; empty for none
   */
  public record Own(ChatTemplate template, String system) {

    /** As {@link ChatTemplate#render}, with the template's own system turn. */
    public List<Piece> render(List<Turn> turns, boolean ask) {
      if (system.isEmpty() || turns.isEmpty() || turns.get(0).role().equals("system")) {
        return template.render(turns, ask);
      }
      List<Turn> all = new ArrayList<>(List.of(new Turn("system", system)));
      all.addAll(turns);
      return template.render(all, ask);
    }
  }

  /** A system turn that a template of Qwen2's kind has in words. */
  private static final Pattern SYSTEM =
      Pattern.compile("<\\|im_start\\|>system\\\\n([^<'\"{}\\\\]+)<\\|im_end\\|>");

  private static final int MAX_BYTES = 4 << 20;

  /** What a template writes that these do not. */
  private static final List<String> EXTRAS = List.of("<think>", "strftime_now", "date_string");

  private final String header;
  private final String end;
  private final String after;

  ChatTemplate(String header, String end, String after) {
    this.header = header;
    this.end = end;
    this.after = after;
  }

  /** The name in recipes: {@code chatml}, {@code llama-3}, ... */
  public String configName() {
    return name().toLowerCase(Locale.ROOT).replace('_', '-');
  }

  /** What ends a turn, beside the token that ends texts; empty for that alone. */
  public String end() {
    return end;
  }

  /** All names. */
  public static List<String> names() {
    return Arrays.stream(values()).map(ChatTemplate::configName).toList();
  }

  /** The template of a name. */
  public static Optional<ChatTemplate> named(String name) {
    return Arrays.stream(values()).filter(one -> one.configName().equals(name)).findFirst();
  }

  /**
   * The template of a model: what its {@code chat_template.jinja} or {@code tokenizer_config.json}
   * writes; {@link #ZEPHYR} where it has none.
   *
   * @throws ConfigException if its template is none of these, or writes more than these
   * @throws FormatException if a file cannot be read
   */
  public static Own of(ModelDirectory model) {
    Optional<String> jinja = jinja(model.path());
    if (jinja.isEmpty()) {
      return new Own(ZEPHYR, "");
    }
    String text = jinja.get();
    Optional<ChatTemplate> found = recognised(text);
    boolean more = EXTRAS.stream().anyMatch(text::contains);
    if (found.isEmpty() || more) {
      throw new ConfigException(
          "data.chat_template",
          "the chat template of "
              + model.path()
              + (found.isEmpty()
                  ? " is none that spark-peft knows"
                  : " is "
                      + found.get().configName()
                      + " with more (a date or thoughts of its own), which spark-peft"
                      + " does not write")
              + "; name the one to use: "
              + String.join(", ", names()));
    }
    Matcher system = SYSTEM.matcher(text);
    return new Own(found.get(), found.get() == CHATML && system.find() ? system.group(1) : "");
  }

  private static Optional<ChatTemplate> recognised(String jinja) {
    if (jinja.contains("<|im_start|>")) {
      return Optional.of(CHATML);
    }
    if (jinja.contains("<|start_header_id|>")) {
      return Optional.of(LLAMA_3);
    }
    if (jinja.contains("<start_of_turn>")) {
      return Optional.of(GEMMA);
    }
    if (jinja.contains("[INST]")) {
      return jinja.contains("<<SYS>>") ? Optional.of(LLAMA_2) : Optional.empty();
    }
    if (jinja.contains("<|end|>")) {
      return Optional.of(PHI_3);
    }
    return jinja.contains("<|user|>") ? Optional.of(ZEPHYR) : Optional.empty();
  }

  private static Optional<String> jinja(Path folder) {
    Path own = folder.resolve("chat_template.jinja");
    Path config = folder.resolve("tokenizer_config.json");
    try {
      if (Files.isRegularFile(own)) {
        return Optional.of(new String(bounded(own), StandardCharsets.UTF_8));
      }
      if (!Files.isRegularFile(config)) {
        return Optional.empty();
      }
      JsonNode named = new ObjectMapper().readTree(bounded(config)).path("chat_template");
      if (named.isTextual()) {
        return Optional.of(named.textValue());
      }
      for (JsonNode one : named) {
        if (one.path("name").asText().equals("default")) {
          return Optional.of(one.path("template").asText());
        }
      }
      return Optional.empty();
    } catch (IOException e) {
      throw new FormatException(folder.toString(), "its chat template cannot be read", e);
    }
  }

  private static byte[] bounded(Path file) throws IOException {
    if (Files.size(file) > MAX_BYTES) {
      throw new FormatException(
          file.toString(), "has " + Files.size(file) + " bytes, at most " + MAX_BYTES);
    }
    return Files.readAllBytes(file);
  }

  /**
   * A conversation as text.
   *
   * @param turns at most one system turn, the first; then user and assistant in turns
   * @param ask whether the assistant is to speak next: ends with what comes before its words
   * @throws DataException if the turns are in another order, or the template has no system turn
   */
  public List<Piece> render(List<Turn> turns, boolean ask) {
    requireOrder(turns, ask);
    return this == LLAMA_2 ? instructions(turns) : marked(turns, ask);
  }

  private List<Piece> marked(List<Turn> turns, boolean ask) {
    boolean ends = this == ZEPHYR;
    List<Piece> pieces = new ArrayList<>();
    for (Turn turn : turns) {
      boolean said = turn.role().equals("assistant");
      String between = pieces.isEmpty() ? "" : after;
      String content = this == LLAMA_3 || this == GEMMA ? turn.content().strip() : turn.content();
      if (said) {
        pieces.add(new Piece(between + header(turn.role()), false, false, false));
        pieces.add(new Piece(content + end, false, ends, true));
      } else {
        String text = between + header(turn.role()) + content + end;
        pieces.add(new Piece(text, pieces.isEmpty(), ends, false));
      }
    }
    if (ask) {
      pieces.add(new Piece(after + header("assistant"), false, false, false));
    }
    return pieces;
  }

  private String header(String role) {
    return header.formatted(this == GEMMA && role.equals("assistant") ? "model" : role);
  }

  private static List<Piece> instructions(List<Turn> turns) {
    List<Piece> pieces = new ArrayList<>();
    String system = "";
    for (Turn turn : turns) {
      switch (turn.role()) {
        case "system" -> system = "<<SYS>>\n" + turn.content() + "\n<</SYS>>\n\n";
        case "assistant" ->
            pieces.add(new Piece(" " + turn.content().strip() + " ", false, true, true));
        default -> {
          String asked = (system + turn.content()).strip();
          pieces.add(new Piece("[INST] " + asked + " [/INST]", true, false, false));
          system = "";
        }
      }
    }
    return pieces;
  }

  private void requireOrder(List<Turn> turns, boolean ask) {
    boolean system = !turns.isEmpty() && turns.get(0).role().equals("system");
    List<String> roles = turns.stream().skip(system ? 1 : 0).map(Turn::role).toList();
    boolean ordered = !roles.isEmpty();
    for (int i = 0; i < roles.size(); i++) {
      ordered &= roles.get(i).equals(i % 2 == 0 ? "user" : "assistant");
    }
    if (!ordered || ask == (roles.size() % 2 == 0)) {
      throw new DataException(
          "a conversation must be user and assistant in turns, perhaps after one system turn, and"
              + " end with the "
              + (ask ? "user" : "assistant")
              + "; got "
              + turns.stream().map(Turn::role).collect(Collectors.joining(", ")));
    }
    if (system && this == GEMMA) {
      throw new DataException(
          "the chat template gemma has no system turn; move its text into the first user turn");
    }
  }
}
