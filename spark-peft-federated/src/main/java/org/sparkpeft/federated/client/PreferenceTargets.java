package org.sparkpeft.federated.client;

import java.util.Arrays;
import org.sparkpeft.core.data.Examples;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.text.TextTokenizer;
import org.sparkpeft.core.train.TaskConfig;

/**
 * A prompt that completions follow. Each completion ends with the token that ends a text, and is
 * cut where prompt and completion are longer than the task allows; the prompt is the same for all.
 *
 * @param prompt token ids
 */
record PreferenceTargets(TextTokenizer tokenizer, TaskConfig task, int[] prompt) {
  private static final int SHOWN = 40;

  /**
   * Reads a prompt.
   *
   * @throws DataException if it leaves no room for a completion
   */
  static PreferenceTargets of(TextTokenizer tokenizer, TaskConfig task, String text) {
    int[] prompt = WordTargets.prompt(tokenizer, text);
    int kept = task.preference().maxPromptLength();
    if (kept > 0 && prompt.length > kept) {
      prompt = Arrays.copyOfRange(prompt, prompt.length - kept, prompt.length);
    }
    if (prompt.length == 0) {
      throw new DataException(
          "data.text: a prompt has no tokens, and this model's tokenizer starts texts with none;"
              + " give every row a prompt");
    }
    if (prompt.length >= task.maxLength()) {
      throw new DataException(
          "data.text: a prompt of "
              + prompt.length
              + " tokens leaves no room for a completion in model.max_length, which is "
              + task.maxLength()
              + "; raise that, set model.preference.max_prompt_length, or leave such rows out; it"
              + " begins \""
              + text.substring(0, Math.min(SHOWN, text.length()))
              + "\"");
    }
    return new PreferenceTargets(tokenizer, task, prompt);
  }

  void addPair(Examples.Builder builder, String chosen, String rejected) {
    builder.addPreference(followedBy(chosen), followedBy(rejected), prompt.length);
  }

  /**
   * @param other completion of another prompt
   */
  void addJudged(Examples.Builder builder, String completion, String other, boolean desirable) {
    builder.addJudged(followedBy(completion), followedBy(other), prompt.length, desirable);
  }

  private int[] followedBy(String completion) {
    return WordTargets.followed(tokenizer, task, prompt, completion);
  }
}
