package org.sparkpeft.federated.cli;

import org.sparkpeft.federated.config.Recipe;
import org.sparkpeft.federated.round.RunListener;

/** Placeholder until training is joined in; every action refuses. */
final class FederatedActions implements Actions {
  @Override
  public Outcome train(Recipe recipe, TrainOptions options, RunListener listener) {
    throw new UnsupportedOperationException("training is not part of this build");
  }

  @Override
  public Outcome quickstart(Recipe recipe, TrainOptions options, RunListener listener) {
    throw new UnsupportedOperationException("training is not part of this build");
  }

  @Override
  public Outcome evaluate(EvaluateRequest request) {
    throw new UnsupportedOperationException("evaluation is not part of this build");
  }

  @Override
  public Outcome predict(PredictRequest request) {
    throw new UnsupportedOperationException("prediction is not part of this build");
  }
}
