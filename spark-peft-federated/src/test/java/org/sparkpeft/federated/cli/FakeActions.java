package org.sparkpeft.federated.cli;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.sparkpeft.federated.config.Recipe;
import org.sparkpeft.federated.round.RunListener;

/** Remembers what it was asked, and answers alike or fails as told. */
final class FakeActions implements Actions {
  final List<Object> asked = new ArrayList<>();
  Optional<RuntimeException> failure = Optional.empty();

  @Override
  public Outcome train(Recipe recipe, TrainOptions options, RunListener listener) {
    return answer("train", recipe, options);
  }

  @Override
  public Outcome quickstart(Recipe recipe, TrainOptions options, RunListener listener) {
    return answer("quickstart", recipe, options);
  }

  @Override
  public Outcome evaluate(EvaluateRequest request) {
    return answer("evaluate", request);
  }

  @Override
  public Outcome predict(PredictRequest request) {
    return answer("predict", request);
  }

  private Outcome answer(Object... request) {
    asked.addAll(List.of(request));
    failure.ifPresent(
        thrown -> {
          throw thrown;
        });
    return Outcome.of("done " + request[0], Map.of("accuracy", 0.5, "rounds", 3));
  }
}
