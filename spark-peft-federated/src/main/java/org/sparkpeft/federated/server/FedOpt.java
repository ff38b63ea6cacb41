package org.sparkpeft.federated.server;

import java.util.Arrays;
import java.util.Objects;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.core.vector.ParameterVector;
import org.sparkpeft.core.vector.TaskVector;

/**
 * FedAdam, FedYogi and FedAdagrad (Reddi et al. 2021, arXiv 2003.00295): no bias correction, {@code
 * m = 0} and {@code v = tau^2} at the start, {@code x <- x + eta m / (sqrt(v) + tau)}. Adagrad has
 * no first moment. The aggregate's weighting is the aggregator's.
 */
record FedOpt(Rule rule, double learningRate, double beta1, double beta2, double tau)
    implements ServerOptimizer {
  private static final String FIRST = "first_moment";
  private static final String SECOND = "second_moment";

  enum Rule {
    ADAM,
    YOGI,
    ADAGRAD
  }

  FedOpt(Rule rule, ServerConfig config) {
    this(
        rule,
        config.learningRate(),
        rule == Rule.ADAGRAD ? 0 : config.beta1(),
        config.beta2(),
        config.tau());
  }

  @Override
  public ServerState initial(ParameterVector parameters) {
    float[] second = new float[parameters.size()];
    Arrays.fill(second, (float) (tau * tau));
    SortedMap<String, ParameterVector> moments = new TreeMap<>();
    moments.put(FIRST, ParameterVector.zeros(parameters.layout()));
    moments.put(SECOND, ParameterVector.wrap(parameters.layout(), second));
    return new ServerState(parameters, moments);
  }

  @Override
  public ServerState step(ServerState state, TaskVector aggregate) {
    float[] x = state.parameters().toArray();
    float[] m = Objects.requireNonNull(state.moments().get(FIRST), FIRST).toArray();
    float[] v = Objects.requireNonNull(state.moments().get(SECOND), SECOND).toArray();
    for (int i = 0; i < x.length; i++) {
      double delta = aggregate.get(i);
      double first = beta1 * m[i] + (1 - beta1) * delta;
      double second = secondMoment(v[i], delta * delta);
      x[i] = (float) (x[i] + learningRate * first / (Math.sqrt(second) + tau));
      m[i] = (float) first;
      v[i] = (float) second;
    }
    SortedMap<String, ParameterVector> moments = new TreeMap<>();
    moments.put(FIRST, ParameterVector.wrap(aggregate.layout(), m));
    moments.put(SECOND, ParameterVector.wrap(aggregate.layout(), v));
    return new ServerState(ParameterVector.wrap(aggregate.layout(), x), moments);
  }

  private double secondMoment(double v, double square) {
    return switch (rule) {
      case ADAM -> beta2 * v + (1 - beta2) * square;
      case YOGI -> v - (1 - beta2) * square * Math.signum(v - square);
      case ADAGRAD -> v + square;
    };
  }
}
