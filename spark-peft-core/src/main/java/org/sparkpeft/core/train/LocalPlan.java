package org.sparkpeft.core.train;

import java.util.function.BooleanSupplier;
import org.sparkpeft.core.error.Problems;

/**
 * One client's part in one round. Random choices depend on seed, round and client id alone, never
 * on where or when the client is trained.
 *
 * @param seed the run's seed
 * @param round number of the round, from 0
 * @param clientId the client
 * @param progressStart progress of the federation, in [0, 1], at the client's first update
 * @param progressEnd progress after its last update
 * @param proximalMu strength of FedProx's pull towards the starting parameters (Li et al. 2018,
 *     arXiv 1812.06127); 0 switches it off
 * @param cancelled asked before every update; true stops the training
 */
public record LocalPlan(
    long seed,
    int round,
    String clientId,
    double progressStart,
    double progressEnd,
    double proximalMu,
    BooleanSupplier cancelled) {

  public LocalPlan {
    new Problems()
        .require(round >= 0, "round", round, "must be 0 or above")
        .require(
            progressStart >= 0 && progressEnd <= 1 && progressStart <= progressEnd,
            "progress",
            progressStart + ".." + progressEnd,
            "must lie in 0..1 and not go back")
        .require(
            proximalMu >= 0 && Double.isFinite(proximalMu),
            "proximal_mu",
            proximalMu,
            "must be 0 or above; usual is 0.001..1")
        .throwIfAny();
  }

  /** A whole training on one data set, without a federation. */
  public static LocalPlan alone(long seed) {
    return new LocalPlan(seed, 0, "alone", 0, 1, 0, () -> false);
  }

  /** Whether this is the whole training and not a client's part of one. */
  public boolean alone() {
    return progressStart == 0 && progressEnd == 1;
  }
}
