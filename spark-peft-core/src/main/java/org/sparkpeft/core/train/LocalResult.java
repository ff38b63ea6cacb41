package org.sparkpeft.core.train;

import org.sparkpeft.core.vector.ParameterVector;

/**
 * What a client's training gives.
 *
 * @param parameters trained values
 * @param numExamples examples of the client: its weight in an average
 * @param steps optimiser updates made
 * @param meanLoss mean training loss of all batches, in the order they were seen
 * @param tokens tokens seen, without padding
 * @param nanos time taken
 */
public record LocalResult(
    ParameterVector parameters,
    int numExamples,
    int steps,
    double meanLoss,
    long tokens,
    long nanos) {

  /** Tokens a second, without padding. */
  public double tokensPerSecond() {
    return nanos == 0 ? 0 : tokens * 1e9 / nanos;
  }
}
