package org.sparkpeft.federated.server;

import java.util.Objects;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.core.vector.ParameterVector;
import org.sparkpeft.core.vector.TaskVector;

/**
 * {@code v <- beta v + aggregate; x <- x + eta v}, starting from {@code v = 0}: FedAvgM as in
 * Flower (Hsu et al. 2019, arXiv 1909.06335); without momentum and with rate 1, FedAvg.
 */
record FedAvgM(double learningRate, double momentum) implements ServerOptimizer {
  private static final String VELOCITY = "velocity";

  @Override
  public ServerState initial(ParameterVector parameters) {
    SortedMap<String, ParameterVector> moments = new TreeMap<>();
    if (momentum > 0) {
      moments.put(VELOCITY, ParameterVector.zeros(parameters.layout()));
    }
    return new ServerState(parameters, moments);
  }

  @Override
  public ServerState step(ServerState state, TaskVector aggregate) {
    float[] x = state.parameters().toArray();
    SortedMap<String, ParameterVector> moments = new TreeMap<>();
    if (momentum > 0) {
      float[] v = Objects.requireNonNull(state.moments().get(VELOCITY), VELOCITY).toArray();
      for (int i = 0; i < x.length; i++) {
        v[i] = (float) (momentum * v[i] + aggregate.get(i));
        x[i] = (float) (x[i] + learningRate * v[i]);
      }
      moments.put(VELOCITY, ParameterVector.wrap(aggregate.layout(), v));
    } else {
      for (int i = 0; i < x.length; i++) {
        x[i] = (float) (x[i] + learningRate * aggregate.get(i));
      }
    }
    return new ServerState(ParameterVector.wrap(aggregate.layout(), x), moments);
  }
}
