package org.sparkpeft.core.model;

/** What a model reads in one forward pass: some examples of one kind. Plain Java. */
public interface ModelInput {

  /** Number of examples. */
  int size();

  /** Positions of an example in the input, with padding; 0 where the model decides it. */
  int width();

  /** Positions of example {@code row} without padding; 0 where the model decides it. */
  int length(int row);

  /** Whether any example is shorter than the longest. */
  boolean isPadded();

  /** Number of the task of example {@code row}, 0 where nobody said. */
  int task(int row);
}
