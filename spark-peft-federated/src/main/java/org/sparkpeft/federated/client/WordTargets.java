package org.sparkpeft.federated.client;

import java.util.Arrays;
import java.util.List;
import org.sparkpeft.core.text.ChatTemplate.Piece;
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
   * @param all whether a prompt is learnt too
   */
  static WordTargets continuation(
      TextTokenizer tokenizer, TaskConfig task, String text, String continuation, boolean all) {
    List<Piece> pieces =
        continuation.isEmpty()
            ? List.of(new Piece(text, true, true, true))
            : List.of(
                new Piece(text, true, false, false), new Piece(continuation, false, true, true));
    return of(tokenizer, task, pieces, all);
  }

  /**
   * Pieces of a text, of which those that are said are learnt. What is longer than the task allows
   * is cut at its end; where nothing would be left to learn, at its start instead.
   *
   * @param all whether all of it is learnt
   */
  static WordTargets of(TextTokenizer tokenizer, TaskConfig task, List<Piece> pieces, boolean all) {
    int[] tokens = new int[0];
    int[] labels = new int[0];
    for (Piece piece : pieces) {
      int[] own = tokens(tokenizer, piece);
      int[] learnt = own.clone();
      if (!piece.said() && !all) {
        Arrays.fill(learnt, IGNORED);
      }
      tokens = joined(tokens, own);
      labels = joined(labels, learnt);
    }
    int most = task.maxLength();
    if (tokens.length <= most) {
      return new WordTargets(tokens, labels);
    }
    // The first token is not predicted.
    boolean left = Arrays.stream(labels, 1, most).anyMatch(label -> label != IGNORED);
    int from = left ? 0 : tokens.length - most;
    return new WordTargets(
        Arrays.copyOfRange(tokens, from, from + most),
        Arrays.copyOfRange(labels, from, from + most));
  }

  /** The tokens of pieces that go on. */
  static int[] tokens(TextTokenizer tokenizer, List<Piece> pieces) {
    int[] tokens = new int[0];
    for (Piece piece : pieces) {
      tokens = joined(tokens, tokens(tokenizer, piece));
    }
    return tokens;
  }

  private static int[] tokens(TextTokenizer tokenizer, Piece piece) {
    int[] tokens =
        piece.starts()
            ? prompt(tokenizer, piece.text())
            : piece.text().isEmpty() ? new int[0] : tokenizer.encodeContinuation(piece.text());
    return piece.ends() ? ended(tokens, tokenizer.endOfText()) : tokens;
  }

  private static int[] joined(int[] first, int[] second) {
    int[] both = Arrays.copyOf(first, first.length + second.length);
    System.arraycopy(second, 0, both, first.length, second.length);
    return both;
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
