package org.sparkpeft.federated.aggregate;

import java.io.Serializable;
import org.sparkpeft.core.vector.ParameterLayout;

/**
 * A rule for making one update out of a round's. It hands out {@link Accumulator}s that executors
 * and the driver fill and join; since their sums are integers, neither the order of clients nor the
 * shape of the tree changes a bit of the result.
 */
public interface Aggregator extends Serializable {

  /**
   * What the driver knows about a round before any update arrives; it fixes the scale of the
   * integer sums.
   *
   * @param clients number of clients drawn
   * @param examples their examples in total
   * @param parts what a client may not have trained at all
   */
  record Cohort(int clients, long examples, Stretches parts) implements Serializable {
    /** A cohort in which everyone trains everything. */
    public Cohort(int clients, long examples) {
      this(clients, examples, Stretches.NONE);
    }

    public Cohort {
      if (clients < 1 || examples < clients) {
        throw new IllegalArgumentException(
            "a cohort needs a client and an example for each, got "
                + clients
                + " clients and "
                + examples
                + " examples");
      }
    }
  }

  /** An empty accumulator. */
  Accumulator zero(ParameterLayout layout, Cohort cohort);

  /**
   * An accumulator from {@link Accumulator#toBytes()}.
   *
   * @throws org.sparkpeft.core.error.FormatException if the bytes do not fit the layout
   */
  Accumulator fromBytes(byte[] bytes, ParameterLayout layout, Cohort cohort);

  /** The aggregator a configuration asks for. */
  static Aggregator of(AggregateConfig config) {
    Weighting weighting = Weighting.valueOf(config.weighting().toUpperCase(java.util.Locale.ROOT));
    return switch (config.method()) {
      case "fedavg", "fedprox" -> new WeightedMean(weighting);
      case "task_arithmetic" -> new TaskArithmeticSum(config.lambda());
      case "ties" -> new TiesAggregator(weighting, config.density(), config.lambda());
      default -> throw new IllegalStateException("no aggregator for " + config.method());
    };
  }

  /** How much a client counts. */
  enum Weighting {
    /** In proportion to its examples. */
    EXAMPLES,
    /** All alike. */
    UNIFORM;

    /** A client's share of its cohort, in (0, 1]; the shares of a whole cohort add up to 1. */
    double share(long numExamples, Cohort cohort) {
      return this == UNIFORM ? 1.0 / cohort.clients() : (double) numExamples / cohort.examples();
    }
  }
}
