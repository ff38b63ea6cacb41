package org.sparkpeft.core.train;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.model.ModelInput;
import org.sparkpeft.core.model.TokenBatch;
import org.sparkpeft.core.model.TokenExamples;

/**
 * Some examples of a client in one input of the model.
 *
 * @param source all examples
 * @param indices which of them are in the batch
 * @param input their tokens, padded together, images or recordings; for pairs, first all first
 *     texts, then all second texts
 */
record ExampleBatch(TokenExamples source, int[] indices, ModelInput input) {

  static ExampleBatch of(TokenExamples source, int[] indices, boolean pairs, int padId) {
    if (source.shape(indices[0]).length > 0) {
      return new ExampleBatch(source, indices, MediaBatch.of(source, indices));
    }
    List<int[]> sequences = new ArrayList<>();
    for (int index : indices) {
      sequences.add(source.tokens(index));
    }
    if (pairs) {
      for (int index : indices) {
        if (source.pair(index).length == 0) {
          throw new DataException("example " + index + " has no second text; the task needs pairs");
        }
        sequences.add(source.pair(index));
      }
    }
    int[] tasks = new int[sequences.size()];
    for (int i = 0; i < tasks.length; i++) {
      tasks[i] = source.task(indices[i % indices.length]);
    }
    TokenBatch tokens = TokenBatch.of(sequences, padId).withTasks(tasks);
    return new ExampleBatch(source, indices, withDocuments(tokens, source, indices));
  }

  /** Tells packed documents apart; padding is a document of its own. */
  private static TokenBatch withDocuments(TokenBatch tokens, TokenExamples source, int[] indices) {
    boolean packed = false;
    int[][] numbers = new int[tokens.size()][tokens.width()];
    for (int row = 0; row < indices.length; row++) {
      int at = 0;
      int document = 0;
      for (int length : source.documents(indices[row])) {
        Arrays.fill(numbers[row], at, at + length, document++);
        at += length;
        packed = true;
      }
      Arrays.fill(numbers[row], Math.max(at, tokens.length(row)), tokens.width(), document + 1);
    }
    return packed ? tokens.withDocuments(numbers) : tokens;
  }

  /**
   * The same examples for an encoder with a decoder, which reads the labels one place later: {@code
   * start}, then all but the last.
   *
   * @param padId stands where a label does not count
   */
  ExampleBatch withTargets(int start, int padId) {
    List<int[]> targets = new ArrayList<>();
    for (int index : indices) {
      int[] labels = source.classes(index);
      int[] shifted = new int[labels.length];
      for (int t = 0; t < labels.length; t++) {
        int before = t == 0 ? start : labels[t - 1];
        shifted[t] = before == TokenObjective.IGNORE ? padId : before;
      }
      targets.add(shifted);
    }
    TokenBatch target = TokenBatch.of(targets, padId);
    return new ExampleBatch(source, indices, tokens().withTarget(target));
  }

  /** The input of a task that only texts have. */
  TokenBatch tokens() {
    if (input instanceof TokenBatch tokens) {
      return tokens;
    }
    throw new IllegalStateException("the task reads texts, the examples are none");
  }

  /** Tokens without padding; 0 for images and recordings. */
  long positions() {
    return input instanceof TokenBatch tokens ? tokens.tokens() : 0;
  }

  int size() {
    return indices.length;
  }

  /** The one class of an example of the batch. */
  int label(int row, int classes) {
    int[] found = source.classes(indices[row]);
    if (found.length != 1 || found[0] < 0 || found[0] >= classes) {
      throw new DataException(
          "the class of example "
              + indices[row]
              + " must be one number in 0.."
              + (classes - 1)
              + ", got "
              + java.util.Arrays.toString(found));
    }
    return found[0];
  }

  /** Positions with outputs for each example, with padding: the decoder's where there is one. */
  int outputWidth() {
    return tokens().target().map(TokenBatch::width).orElse(tokens().width());
  }

  /** The values of an example of the batch. */
  float[] values(int row, int count) {
    float[] values = source.values(indices[row]);
    if (values.length != count) {
      throw new DataException(
          "example " + indices[row] + " must have " + count + " values, has " + values.length);
    }
    return values;
  }

  /** One class for each token of an example of the batch, -100 where it does not count. */
  int[] tokenLabels(int row, int classes) {
    int[] labels = source.classes(indices[row]);
    int length = tokens().target().orElse(tokens()).length(row);
    if (labels.length != length) {
      throw new DataException(
          "example "
              + indices[row]
              + " has "
              + length
              + " tokens and "
              + labels.length
              + " labels");
    }
    for (int label : labels) {
      if (label != TokenObjective.IGNORE && (label < 0 || label >= classes)) {
        throw new DataException(
            "token labels of example "
                + indices[row]
                + " must be -100 or 0.."
                + (classes - 1)
                + ", got "
                + label);
      }
    }
    return labels;
  }
}
