package org.sparkpeft.core.peft;

import java.util.Map;
import org.sparkpeft.core.vector.ParameterVector;

/** What a method decides on the driver between rounds. */
public final class RoundDecision {
  private RoundDecision() {}

  /**
   * What it decides from.
   *
   * @param round number of the round that ended, from 1
   * @param rounds rounds of the run
   * @param reports sums over the round's clients of what their observers reported, each weighted by
   *     the client's share of the examples
   * @param parameters the server's parameters after the round
   */
  public record Input(
      int round, int rounds, Map<String, float[]> reports, ParameterVector parameters) {
    /** Progress of the run in (0, 1]. */
    public double progress() {
      return (double) round / rounds;
    }
  }

  /**
   * What it decides.
   *
   * @param state of the rounds from here on
   * @param parameters the server's, changed where the decision asks for it
   */
  public record Output(MethodState state, ParameterVector parameters) {}
}
