package org.sparkpeft.federated.client;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.Serializable;
import org.sparkpeft.federated.config.DataConfig;

/**
 * How texts become tokens, beside the model's tokenizer and the task.
 *
 * @param targetTokenizer a {@code tokenizer.json} for what a decoder says, on every machine at the
 *     same place; empty for the model's own
 * @param chatTemplate name of a {@link org.sparkpeft.core.text.ChatTemplate}, or {@code auto}
 * @param trainOnPrompt whether prompts are learnt too, not replies alone
 * @param packing whether short texts share sequences
 */
public record EncodingConfig(
    String targetTokenizer, String chatTemplate, boolean trainOnPrompt, boolean packing)
    implements Serializable {
  /** As the model's own files say. */
  public static final EncodingConfig USUAL =
      new EncodingConfig("", DataConfig.AUTO_TEMPLATE, false, false);

  static EncodingConfig of(DataConfig data) {
    return new EncodingConfig(
        data.targetTokenizer(), data.chatTemplate(), data.trainOnPrompt(), data.packing());
  }

  /** Puts what is not as usual among an adapter's settings. */
  void write(ObjectNode node) {
    if (!targetTokenizer.isEmpty()) {
      node.put("target_tokenizer", targetTokenizer);
    }
    if (!chatTemplate.equals(USUAL.chatTemplate)) {
      node.put("chat_template", chatTemplate);
    }
    if (trainOnPrompt) {
      node.put("train_on_prompt", true);
    }
  }

  /** What {@link #write} wrote. */
  static EncodingConfig read(JsonNode node) {
    return new EncodingConfig(
        node.path("target_tokenizer").asText(USUAL.targetTokenizer),
        node.path("chat_template").asText(USUAL.chatTemplate),
        node.path("train_on_prompt").asBoolean(USUAL.trainOnPrompt),
        false);
  }
}
