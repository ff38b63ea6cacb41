package org.sparkpeft.core.train;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.concurrent.CancellationException;
import java.util.function.Function;
import java.util.function.UnaryOperator;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.engine.FlatParameters;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.model.TokenExamples;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * Trains and evaluates on the examples of one client. Keeps no state between calls, so one trainer
 * may serve any number of threads; optimiser moments start at zero in every call. {@link
 * ClientPass} trains several clients at once.
 */
public final class LocalTrainer {
  private static final int EVALUATION_BATCH = 64;

  private final TunableModel model;
  private final TrainConfig config;
  private final Objective objective;
  private final AdapterStack reference;

  /**
   * @throws org.sparkpeft.core.error.ConfigException if the model's method does not allow {@code
   *     gradient_checkpointing} and that is on
   */
  public LocalTrainer(TunableModel model, TrainConfig config) {
    this(model, config, model.below());
    if (config.gradientCheckpointing()) {
      model.requireRecomputable();
    }
  }

  private LocalTrainer(TunableModel model, TrainConfig config, AdapterStack reference) {
    this.model = model;
    this.config = config;
    this.objective = model.task().kind().objective(model.task());
    this.reference = reference;
  }

  /**
   * The same, where preferences are measured against the base under these adapters. Without this
   * the reference is the base under the adapters that the model's own lies on, if any: right for an
   * adapter that is new. For one that was trained before, give the reference a frozen copy of it.
   *
   * @throws org.sparkpeft.core.error.ConfigException if the adapters do not fit the model or each
   *     other
   */
  public LocalTrainer withReference(AdapterStack frozen) {
    model.requireUsable(frozen);
    return new LocalTrainer(model, config, frozen);
  }

  /** Makes the objective's view of forward passes, for the examples of one call. */
  private UnaryOperator<BatchForward> judged(NDManager manager) {
    return objective.judged(() -> model.forward(manager, reference));
  }

  /** The batches of passes over a client's examples. */
  public UpdateBatches batches(TokenExamples examples, LocalPlan plan) {
    return new PassBatches(
        examples,
        config,
        objective.pairs(),
        updatesPerPass(examples.size()),
        ClientTraining.random(plan));
  }

  /** Optimiser updates that training on this many examples will make. */
  public int plannedUpdates(int numExamples) {
    return config.localSteps() > 0
        ? config.localSteps()
        : Math.multiplyExact(config.localEpochs(), updatesPerPass(numExamples));
  }

  private int updatesPerPass(int numExamples) {
    int batches = ceilDiv(numExamples, config.batchSize());
    return ceilDiv(batches, config.gradientAccumulationSteps());
  }

  private static int ceilDiv(int a, int b) {
    return (a + b - 1) / b;
  }

  /**
   * Trains on a client's examples, starting from {@code start}.
   *
   * @throws DataException if there are no examples or their labels do not fit the task
   * @throws NonFiniteException if the loss, a gradient or a parameter stops being finite
   * @throws CancellationException if the plan was cancelled
   */
  public LocalResult train(ParameterVector start, TokenExamples examples, LocalPlan plan) {
    requireExamples(examples);
    return run(start, examples, plan, plannedUpdates(examples.size()), batches(examples, plan));
  }

  /**
   * Trains on given batches instead of passes over all examples.
   *
   * @param updates optimiser updates to make
   * @throws NonFiniteException if the loss, a gradient or a parameter stops being finite
   */
  public LocalResult train(
      ParameterVector start,
      TokenExamples examples,
      LocalPlan plan,
      int updates,
      UpdateBatches batches) {
    requireExamples(examples);
    return run(start, examples, plan, updates, batches);
  }

  LocalResult run(
      ParameterVector start,
      TokenExamples examples,
      LocalPlan plan,
      int updates,
      UpdateBatches batches) {
    requireLayout(start);
    long began = System.nanoTime();
    ClientTraining training =
        new ClientTraining(model, config, start, examples, plan, updates, batches);
    Philox dropout = ClientTraining.random(plan).child(-1);
    model.device().bindThread();
    boolean fixed =
        updates > updatesPerPass(examples.size()) && FixedFeatures.fit(model, examples.size());
    Function<NDManager, BatchForward> preparation =
        fixed ? manager -> FixedFeatures.of(model, examples, manager) : model::forward;
    try (BatchGradients gradients =
        new BatchGradients(model, config, objective, this::judged, preparation, fixed)) {
      while (training.goesOn()) {
        List<int[]> group = training.begin();
        gradients.set(training.parameters());
        Map<String, float[]> probes = new TreeMap<>();
        for (int micro = 0; micro < group.size(); micro++) {
          BatchGradients.Seen seen =
              gradients.add(
                  examples,
                  group.get(micro),
                  dropout.child(training.update()).child(micro),
                  1f / group.size(),
                  training.gradient(),
                  BatchGradients.Probing.of(training.observer(), training.update(), probes));
          training.saw(seen.loss(), seen.tokens());
        }
        Optional<MethodState> changed = training.step(probes);
        changed.ifPresent(state -> gradients.prepare(model.withState(state)::forward));
      }
    }
    return training.result(System.nanoTime() - began);
  }

  /**
   * The mean loss of a batch, whose gradient is added to {@code gradient}.
   *
   * @param at the parameters
   * @param preparation from an owner to a forward pass of the model
   */
  double loss(
      float[] at,
      TokenExamples examples,
      int[] indices,
      Function<NDManager, BatchForward> preparation,
      float[] gradient) {
    try (BatchGradients gradients =
        new BatchGradients(model, config, objective, this::judged, preparation, false)) {
      gradients.set(at);
      Philox random = Philox.of(0, "one batch");
      return gradients
          .add(examples, indices, random, 1, gradient, BatchGradients.Probing.NONE)
          .loss();
    }
  }

  /**
   * Scores the model with the given parameters.
   *
   * @throws DataException if there are no examples or their labels do not fit the task
   */
  public Evaluation evaluate(ParameterVector parameters, TokenExamples examples) {
    return evaluate(own(parameters), examples);
  }

  /**
   * Scores the base under given adapters; the model's own takes no part.
   *
   * @throws DataException if there are no examples or their labels do not fit the task
   * @throws org.sparkpeft.core.error.ConfigException if the adapters do not fit the model or each
   *     other
   */
  public Evaluation evaluate(AdapterStack adapters, TokenExamples examples) {
    return evaluate(given(adapters), examples);
  }

  private Evaluation evaluate(
      Function<NDManager, BatchForward> preparation, TokenExamples examples) {
    requireExamples(examples);
    Evaluation.Counter counter = objective.none().counter();
    forward(
        manager -> judged(manager).apply(preparation.apply(manager)),
        examples,
        objective.pairs(),
        (step, batch, outputs) -> counter.add(objective.score(step, outputs, batch)));
    return counter.result();
  }

  /**
   * The model's outputs for every example, in the examples' order: logits; for tasks with outputs
   * for each token, those of all tokens one after the other, virtual ones in front; for sentence
   * embeddings, the first text's unit vector.
   */
  public float[][] logits(ParameterVector parameters, TokenExamples examples) {
    return logits(own(parameters), examples);
  }

  /** {@link #logits(ParameterVector, TokenExamples)} of the base under given adapters alone. */
  public float[][] logits(AdapterStack adapters, TokenExamples examples) {
    return logits(given(adapters), examples);
  }

  private float[][] logits(Function<NDManager, BatchForward> preparation, TokenExamples examples) {
    requireExamples(examples);
    float[][] logits = new float[examples.size()][];
    forward(
        preparation,
        examples,
        false,
        (step, batch, results) -> {
          NDArray all = results.all();
          float[] outputs = all.toFloatArray();
          int size = outputs.length / batch.input().size();
          for (int row = 0; row < batch.size(); row++) {
            int kept = size;
            if (model.task().kind().isPerToken()) { // after each other, padding last
              int width = (int) all.getShape().get(1);
              int padding = batch.tokens().width() - batch.tokens().length(row);
              kept = size / width * (width - padding);
            }
            logits[batch.indices()[row]] =
                Arrays.copyOfRange(outputs, row * size, row * size + kept);
          }
        });
    return logits;
  }

  private interface BatchConsumer {
    void accept(NDManager step, ExampleBatch batch, Outputs outputs);
  }

  /** The forward pass of one evaluation, once there is an owner for its tensors. */
  private Function<NDManager, BatchForward> own(ParameterVector parameters) {
    requireLayout(parameters);
    return manager -> {
      FlatParameters flat = new FlatParameters(model.layout());
      flat.set(parameters.toArray());
      BatchForward forward = model.forward(manager);
      return (step, none, batch, context) ->
          forward.outputs(step, flat.views(flat.leaf(step, false)), batch, context);
    };
  }

  private Function<NDManager, BatchForward> given(AdapterStack adapters) {
    return manager -> model.forward(manager, adapters);
  }

  private static TuningContext inference(NDManager step, ExampleBatch batch) {
    return TuningContext.inference(step, batch.input());
  }

  private void forward(
      Function<NDManager, BatchForward> preparation,
      TokenExamples examples,
      boolean pairs,
      BatchConsumer consumer) {
    ComputeDevice device = model.device();
    device.bindThread();
    int size = pairs ? config.batchSize() : EVALUATION_BATCH;
    try (NDManager manager = device.newManager()) {
      BatchForward pass = preparation.apply(manager);
      for (int[] indices : Batching.forEvaluation(examples, size, pairs)) {
        try (NDManager step = manager.newSubManager()) {
          ExampleBatch batch = model.batch(examples, indices, pairs);
          consumer.accept(step, batch, pass.outputs(step, Map.of(), batch, inference(step, batch)));
        }
      }
    }
  }

  static void requireExamples(TokenExamples examples) {
    if (examples.size() == 0) {
      throw new DataException("there are no examples; a client needs at least one");
    }
  }

  void requireLayout(ParameterVector parameters) {
    if (!parameters.layout().equals(model.layout())) {
      throw new IllegalArgumentException(
          "parameters have " + parameters.layout() + ", the model " + model.layout());
    }
  }
}
