package org.sparkpeft.core.train;

import java.util.ArrayList;
import java.util.List;
import org.sparkpeft.core.model.TokenExamples;
import org.sparkpeft.core.random.Philox;

/** Examples held in lists, in the order given. */
final class ListExamples implements TokenExamples {
  private final List<int[]> tokens = new ArrayList<>();
  private final List<int[]> pairs = new ArrayList<>();
  private final List<int[]> classes = new ArrayList<>();
  private final List<float[]> values = new ArrayList<>();

  ListExamples add(int[] text, int... labels) {
    return add(text, new int[0], labels, new float[0]);
  }

  ListExamples addValues(int[] text, float... labels) {
    return add(text, new int[0], new int[0], labels);
  }

  ListExamples addPair(int[] first, int[] second) {
    return add(first, second, new int[0], new float[0]);
  }

  ListExamples addPreference(int[] chosen, int[] rejected, int promptLength) {
    return add(chosen, rejected, new int[] {promptLength}, new float[0]);
  }

  ListExamples addJudged(int[] tokens, int[] mismatched, int promptLength, float desirable) {
    return add(tokens, mismatched, new int[] {promptLength}, new float[] {desirable});
  }

  private ListExamples add(int[] text, int[] second, int[] labels, float[] numbers) {
    tokens.add(text);
    pairs.add(second);
    classes.add(labels);
    values.add(numbers);
    return this;
  }

  /** Random texts of varied length whose class depends on one of their tokens. */
  static ListExamples random(int count, int classes, int maxLength, int vocabulary, long seed) {
    ListExamples examples = new ListExamples();
    Philox random = Philox.of(seed, "examples");
    for (int i = 0; i < count; i++) {
      Philox own = random.child(i);
      int length = 4 + (int) (own.doubleAt(0) * (maxLength - 3));
      int[] text = new int[length];
      for (int t = 0; t < length; t++) {
        text[t] = 5 + (int) (own.doubleAt(t + 1) * (vocabulary - 5));
      }
      int label = (int) (own.doubleAt(1000) * classes);
      text[2] = 10 + label;
      examples.add(text, label);
    }
    return examples;
  }

  @Override
  public int size() {
    return tokens.size();
  }

  @Override
  public int[] tokens(int index) {
    return tokens.get(index);
  }

  @Override
  public int[] pair(int index) {
    return pairs.get(index);
  }

  @Override
  public int[] classes(int index) {
    return classes.get(index);
  }

  @Override
  public float[] values(int index) {
    return values.get(index);
  }
}
