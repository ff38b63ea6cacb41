package org.sparkpeft.federated.server;

import org.sparkpeft.core.vector.ParameterVector;
import org.sparkpeft.core.vector.TaskVector;

/** How an aggregate becomes new global parameters. A pure function of state and aggregate. */
public interface ServerOptimizer {

  /** The state before the first round. */
  ServerState initial(ParameterVector parameters);

  /**
   * One server step.
   *
   * @param aggregate the round's combined update, pointing the way the clients moved
   */
  ServerState step(ServerState state, TaskVector aggregate);

  /** The optimiser a configuration asks for. */
  static ServerOptimizer of(ServerConfig config) {
    return switch (config.optimizer()) {
      case "sgd" -> new FedAvgM(config.learningRate(), config.momentum());
      case "adam" -> new FedOpt(FedOpt.Rule.ADAM, config);
      case "yogi" -> new FedOpt(FedOpt.Rule.YOGI, config);
      case "adagrad" -> new FedOpt(FedOpt.Rule.ADAGRAD, config);
      default -> throw new IllegalStateException("no server optimizer named " + config.optimizer());
    };
  }
}
