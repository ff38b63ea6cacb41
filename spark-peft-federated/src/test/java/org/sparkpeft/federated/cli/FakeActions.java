package org.sparkpeft.federated.cli;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Consumer;
import org.sparkpeft.federated.config.Recipe;
import org.sparkpeft.federated.round.RunListener;

/** Remembers what it was asked, and answers alike or fails as told. */
final class FakeActions implements Actions {
  final List<Object> asked = new ArrayList<>();
  Optional<Exception> failure = Optional.empty();

  @Override
  public Outcome train(Recipe recipe, TrainOptions options, RunListener listener) {
    return answer("train", recipe, options);
  }

  @Override
  public Outcome plan(Recipe recipe, List<String> methods) {
    return answer("plan", recipe, methods);
  }

  @Override
  public Outcome benchMethods(Recipe recipe, MethodBenchOptions options) {
    return answer("bench methods", recipe, options.methods());
  }

  @Override
  public Outcome benchTrain(Recipe recipe, TrainBenchOptions options) {
    return answer("bench train", recipe, options);
  }

  @Override
  public Outcome benchClients(Recipe recipe, ClientBenchOptions options) {
    return answer("bench clients", recipe, options.clients(), options.turns());
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

  @Override
  public Outcome pull(
      String name,
      String revision,
      Path folder,
      Map<String, String> variables,
      Consumer<String> progress) {
    return answer("pull", List.of(name, revision, folder));
  }

  @Override
  public Outcome generate(GenerateRequest request) {
    return answer("generate", request);
  }

  /** Throws whatever it is given, as Scala does. */
  @SuppressWarnings("unchecked")
  private static <E extends Exception> E undeclared(Exception thrown) throws E {
    throw (E) thrown;
  }

  private Outcome answer(Object... request) {
    asked.addAll(List.of(request));
    if (failure.isPresent()) {
      throw FakeActions.<RuntimeException>undeclared(failure.get());
    }
    return Outcome.of("done " + request[0], Map.of("accuracy", 0.5, "rounds", 3));
  }
}
