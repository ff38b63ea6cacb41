package org.sparkpeft.core.train;

import java.util.List;
import java.util.Map;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * What a client's training gives.
 *
 * @param parameters trained values
 * @param state the method's state at the end
 * @param report what the method tells the driver, by name
 * @param numExamples examples of the client: its weight in an average
 * @param steps optimiser updates made
 * @param losses training loss of each batch, in the order they were seen
 * @param tokens tokens seen, without padding
 * @param nanos time taken
 */
public record LocalResult(
    ParameterVector parameters,
    MethodState state,
    Map<String, float[]> report,
    int numExamples,
    int steps,
    List<Double> losses,
    long tokens,
    long nanos) {

  /** Mean training loss of all batches. */
  public double meanLoss() {
    double sum = 0;
    for (double loss : losses) {
      sum += loss;
    }
    return sum / losses.size();
  }

  /** Tokens a second, without padding. */
  public double tokensPerSecond() {
    return nanos == 0 ? 0 : tokens * 1e9 / nanos;
  }
}
