package org.sparkpeft.federated.aggregate;

import java.io.Serializable;
import java.util.List;
import org.sparkpeft.core.error.Problems;

/**
 * How the updates of a round become one.
 *
 * @param method {@code fedavg}, {@code fedprox} (FedAvg whose clients stay near the global
 *     parameters), {@code task_arithmetic} or {@code ties}
 * @param weighting {@code examples}: by the client's number of examples; {@code uniform}: all alike
 * @param proximalMu strength of FedProx's pull, used by {@code fedprox}
 * @param density fraction kept by the trim step of {@code ties}
 * @param lambda factor on the merged update, used by {@code task_arithmetic} and {@code ties}
 */
public record AggregateConfig(
    String method, String weighting, double proximalMu, double density, double lambda)
    implements Serializable {
  public static final List<String> METHODS =
      List.of("fedavg", "fedprox", "task_arithmetic", "ties");

  public AggregateConfig {
    new Problems()
        .require(METHODS.contains(method), "method", method, methodHint(method))
        .require(
            List.of("examples", "uniform").contains(weighting),
            "weighting",
            weighting,
            "must be examples or uniform")
        .require(
            proximalMu >= 0 && proximalMu <= 1000,
            "proximal_mu",
            proximalMu,
            "must be 0..1000; usual is 0.001..1")
        .require(density > 0 && density <= 1, "density", density, "must be in (0, 1]")
        .require(lambda > 0 && lambda <= 10, "lambda", lambda, "must be above 0 and at most 10")
        .throwIfAny();
  }

  private static String methodHint(String method) {
    return switch (method) {
      case "fedavgm" -> "FedAvgM is method: fedavg with server.momentum: 0.9";
      case "fedadam", "fedyogi", "fedadagrad" ->
          "this is method: fedavg with server.optimizer: " + method.substring(3);
      default -> "must be one of " + String.join(", ", METHODS);
    };
  }

  public static AggregateConfig defaults() {
    return new AggregateConfig("fedavg", "examples", 0.01, 0.2, 1);
  }
}
