package org.sparkpeft.core.model;

/**
 * Labelled examples of one client as a model reads them, token ids or the values of an image or a
 * recording, in an order that does not depend on how they arrived. A task reads the label it needs;
 * the others are empty.
 */
public interface TokenExamples {

  /** Number of examples. */
  int size();

  /** Token ids of an example, empty where it is no text; not to be changed. */
  int[] tokens(int index);

  /** Token ids of the text that belongs to an example's text, for pair tasks; else empty. */
  int[] pair(int index);

  /** Values of an image or a recording, row-major in {@link #shape}; not to be changed. */
  default float[] input(int index) {
    return new float[0];
  }

  /**
   * {@code [channels, height, width]} of an image, {@code [frames, features]} or {@code [samples]}
   * of a recording; empty for texts.
   */
  default int[] shape(int index) {
    return new int[0];
  }

  /**
   * The class of an example, or one class for each token with -100 for tokens that do not count.
   */
  int[] classes(int index);

  /** The value of an example, or one 0 or 1 for each label. */
  float[] values(int index);

  /**
   * Tokens of each document packed into an example, in order; empty where the example is one
   * document.
   */
  default int[] documents(int index) {
    return new int[0];
  }

  /** Number of the task an example belongs to, from 0, for methods that route by task. */
  default int task(int index) {
    return 0;
  }
}
