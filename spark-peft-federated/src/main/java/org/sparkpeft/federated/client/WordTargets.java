package org.sparkpeft.federated.client;

import java.util.Arrays;
import org.sparkpeft.core.text.TextTokenizer;
import org.sparkpeft.core.train.TaskConfig;

/**
 * What a language model reads and which of it it learns to say.
 *
 * @param tokens token ids
 * @param labels the same ids where they are learnt, -100 elsewhere; as long as {@code tokens}
 */
record WordTargets(int[] tokens, int[] labels) {
  private static final int IGNORED = -100;

  /**
   * A text, then its continuation and the token that ends a text, cut at the task's length. With a
   * continuation only that is learnt; else the whole text is.
   *
   * @param text a prompt, or the whole text
   * @param continuation what to say after the prompt; empty where there is no prompt
   */
  static WordTargets continuation(
      TextTokenizer tokenizer, TaskConfig task, String text, String continuation) {
    int[] start = prompt(tokenizer, text);
    int[] tokens = followed(tokenizer, task, start, continuation);
    int[] labels = tokens.clone();
    if (!continuation.isEmpty()) {
      Arrays.fill(labels, 0, Math.min(start.length, labels.length), IGNORED);
    }
    return new WordTargets(tokens, labels);
  }

  /** A prompt's tokens, those of its continuation and the end, cut at the task's length. */
  static int[] followed(TextTokenizer tokenizer, TaskConfig task, int[] prompt, String more) {
    int[] tokens = more.isEmpty() ? new int[0] : tokenizer.encodeContinuation(more);
    int[] all = Arrays.copyOf(prompt, prompt.length + tokens.length);
    System.arraycopy(tokens, 0, all, prompt.length, tokens.length);
    return cut(ended(all, tokenizer.endOfText()), task.maxLength());
  }

  /** The tokens of a text that a decoder is to say, ended, cut at the task's length. */
  static int[] target(TextTokenizer tokenizer, TaskConfig task, String text) {
    int[] tokens = withoutEnd(tokenizer.encode(text), tokenizer.endOfText());
    return cut(ended(tokens, tokenizer.endOfText()), task.maxLength());
  }

  /** A text that goes on. */
  static int[] prompt(TextTokenizer tokenizer, String text) {
    return withoutEnd(tokenizer.encode(text), tokenizer.endOfText());
  }

  private static int[] withoutEnd(int[] tokens, int end) {
    boolean ended = end >= 0 && tokens.length > 1 && tokens[tokens.length - 1] == end;
    return ended ? Arrays.copyOf(tokens, tokens.length - 1) : tokens;
  }

  private static int[] ended(int[] tokens, int end) {
    if (end < 0) {
      return tokens;
    }
    int[] longer = Arrays.copyOf(tokens, tokens.length + 1);
    longer[tokens.length] = end;
    return longer;
  }

  private static int[] cut(int[] tokens, int most) {
    return tokens.length > most ? Arrays.copyOf(tokens, most) : tokens;
  }
}
