package org.sparkpeft.federated.server;

import java.io.Serializable;
import java.util.List;
import org.sparkpeft.core.error.Problems;

/**
 * How the server applies a round's aggregate (federated.md, F1 to F3).
 *
 * @param optimizer {@code sgd} (FedAvg; FedAvgM with momentum), {@code adam}, {@code yogi} or
 *     {@code adagrad}
 * @param learningRate server rate; 1 with {@code sgd} is FedAvg
 * @param momentum FedAvgM's beta, used by {@code sgd}
 * @param beta1 decay of the first moment of {@code adam} and {@code yogi}
 * @param beta2 decay of their second moment
 * @param tau degree of adaptivity; also the root of the second moment's initial value
 */
public record ServerConfig(
    String optimizer, double learningRate, double momentum, double beta1, double beta2, double tau)
    implements Serializable {

  public ServerConfig {
    new Problems()
        .require(
            List.of("sgd", "adam", "yogi", "adagrad").contains(optimizer),
            "optimizer",
            optimizer,
            "must be sgd, adam, yogi or adagrad")
        .require(
            learningRate > 0 && learningRate <= 100,
            "learning_rate",
            learningRate,
            "must be above 0 and at most 100")
        .require(momentum >= 0 && momentum < 1, "momentum", momentum, "must be in [0, 1)")
        .require(beta1 >= 0 && beta1 < 1, "beta1", beta1, "must be in [0, 1)")
        .require(beta2 >= 0 && beta2 < 1, "beta2", beta2, "must be in [0, 1)")
        .require(tau > 0 && tau <= 1, "tau", tau, "must be in (0, 1]")
        .throwIfAny();
  }

  public static ServerConfig defaults() {
    return new ServerConfig("sgd", 1, 0, 0.9, 0.99, 1e-3);
  }
}
