package org.sparkpeft.core.text;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.text.ChatTemplate.Piece;
import org.sparkpeft.core.text.ChatTemplate.Turn;

/** Texts as the templates of the models named write them, here by hand. */
class ChatTemplateTest {
  private static final List<Turn> TURNS =
      List.of(
          new Turn("system", "Be brief."),
          new Turn("user", "Hi"),
          new Turn("assistant", "Hello"),
          new Turn("user", "Bye"),
          new Turn("assistant", "See you"));

  @TempDir Path folder;

  /** What is said is in braces, the token that ends texts is {@code #}, one that starts them ^. */
  private static String shown(List<Piece> pieces) {
    return pieces.stream()
        .map(
            piece -> {
              String text = (piece.starts() ? "^" : "") + piece.text() + (piece.ends() ? "#" : "");
              return piece.said() ? "{" + text + "}" : text;
            })
        .collect(Collectors.joining());
  }

  @Test
  void chatmlMarksTurns() {
    assertThat(shown(ChatTemplate.CHATML.render(TURNS, false)))
        .isEqualTo(
            "^<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
                + "<|im_start|>assistant\n{Hello<|im_end|>}\n<|im_start|>user\nBye<|im_end|>\n"
                + "<|im_start|>assistant\n{See you<|im_end|>}");
  }

  @Test
  void llama3TrimsTurns() {
    List<Turn> turns = List.of(new Turn("user", " Hi\n"), new Turn("assistant", "Hello "));
    assertThat(shown(ChatTemplate.LLAMA_3.render(turns, false)))
        .isEqualTo(
            "^<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
                + "<|start_header_id|>assistant<|end_header_id|>\n\n{Hello<|eot_id|>}");
  }

  @Test
  void llama2HasInstructions() {
    assertThat(shown(ChatTemplate.LLAMA_2.render(TURNS, false)))
        .isEqualTo(
            "^[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST]{ Hello #}"
                + "^[INST] Bye [/INST]{ See you #}");
  }

  @Test
  void theOthersHaveTheirOwnMarks() {
    List<Turn> turns = TURNS.subList(1, 3);
    assertThat(shown(ChatTemplate.GEMMA.render(turns, false)))
        .isEqualTo(
            "^<start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n{Hello<end_of_turn>}");
    assertThat(shown(ChatTemplate.PHI_3.render(turns, false)))
        .isEqualTo("^<|user|>\nHi<|end|>\n<|assistant|>\n{Hello<|end|>}");
    assertThat(shown(ChatTemplate.ZEPHYR.render(turns, false)))
        .isEqualTo("^<|user|>\nHi#\n<|assistant|>\n{Hello#}");
  }

  @ParameterizedTest
  @CsvSource({"CHATML", "LLAMA_2", "LLAMA_3", "PHI_3", "ZEPHYR"})
  void aQuestionIsTheTextBeforeItsAnswer(ChatTemplate template) {
    List<Piece> whole = template.render(TURNS, false);
    assertThat(shown(template.render(TURNS.subList(0, 4), true)))
        .isEqualTo(shown(whole.subList(0, whole.size() - 1)));
  }

  @Test
  void turnsOutOfOrderAreRefused() {
    assertThatExceptionOfType(DataException.class)
        .isThrownBy(() -> ChatTemplate.CHATML.render(TURNS.subList(0, 2), false))
        .withMessageContaining("end with the assistant; got system, user");
    assertThatExceptionOfType(DataException.class)
        .isThrownBy(() -> ChatTemplate.CHATML.render(TURNS.subList(2, 5), false))
        .withMessageContaining("got assistant, user, assistant");
    assertThatExceptionOfType(DataException.class)
        .isThrownBy(() -> ChatTemplate.GEMMA.render(TURNS, false))
        .withMessageContaining("no system turn");
  }

  private ModelDirectory model(String chatTemplate) throws IOException {
    Files.writeString(folder.resolve("config.json"), "{}");
    Files.write(folder.resolve("model.safetensors"), new byte[] {2, 0, 0, 0, 0, 0, 0, 0, '{', '}'});
    if (!chatTemplate.isEmpty()) {
      Files.writeString(folder.resolve("chat_template.jinja"), chatTemplate);
    }
    return ModelDirectory.open(folder);
  }

  private ChatTemplate recognised(String jinja) throws IOException {
    ChatTemplate.Own own = ChatTemplate.of(model(jinja));
    assertThat(own.system()).isEmpty();
    return own.template();
  }

  @Test
  void aModelsOwnTemplateIsRecognised() throws IOException {
    assertThat(recognised("")).isEqualTo(ChatTemplate.ZEPHYR);
    Files.writeString(
        folder.resolve("tokenizer_config.json"),
        "{\"chat_template\": [{\"name\": \"default\", \"template\": \"<start_of_turn>\"}]}");
    assertThat(recognised("")).isEqualTo(ChatTemplate.GEMMA);
    Files.writeString(
        folder.resolve("tokenizer_config.json"), "{\"chat_template\": \"<|user|> <|end|>\"}");
    assertThat(recognised("")).isEqualTo(ChatTemplate.PHI_3);
    assertThat(recognised("{{ '<|im_start|>' + m.role }}")).isEqualTo(ChatTemplate.CHATML);
    assertThat(recognised("<|start_header_id|>")).isEqualTo(ChatTemplate.LLAMA_3);
    assertThat(recognised("[INST] <<SYS>>")).isEqualTo(ChatTemplate.LLAMA_2);
    assertThat(recognised("'<|user|>' + eos_token")).isEqualTo(ChatTemplate.ZEPHYR);
  }

  @Test
  void aSystemTurnOfTheTemplateIsWrittenWhereThereIsNone() throws IOException {
    ChatTemplate.Own own =
        ChatTemplate.of(
            model(
                "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\nYou are a helpful"
                    + " assistant.<|im_end|>\\n' }}{% endif %}{{'<|im_start|>' + message['role']}}"));
    assertThat(shown(own.render(TURNS.subList(1, 2), true)))
        .isEqualTo(
            "^<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
                + "Hi<|im_end|>\n<|im_start|>assistant\n");
    assertThat(shown(own.render(TURNS, false)))
        .isEqualTo(shown(ChatTemplate.CHATML.render(TURNS, false)));
  }

  @ParameterizedTest
  @CsvSource({
    "[INST], is none that spark-peft knows",
    "'<|im_start|> <think>', is chatml with more",
    "'<|start_header_id|> strftime_now', is llama-3 with more",
  })
  void whatWouldBeWrittenOtherwiseIsRefused(String template, String why) throws IOException {
    ModelDirectory model = model(template);
    assertThatExceptionOfType(ConfigException.class)
        .isThrownBy(() -> ChatTemplate.of(model))
        .withMessageContaining(why)
        .withMessageContaining("name the one to use: chatml, llama-3, llama-2, gemma");
  }
}
