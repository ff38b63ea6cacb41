package org.sparkpeft.core.train;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.concurrent.CancellationException;
import java.util.function.Predicate;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.engine.FlatParameters;
import org.sparkpeft.core.engine.GradientScope;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.model.TokenExamples;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.Probes;
import org.sparkpeft.core.peft.StepObserver;
import org.sparkpeft.core.peft.TrainingSpan;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * Trains and evaluates on the examples of one client. Keeps no state between calls, so one trainer
 * may serve any number of threads; optimiser moments start at zero in every call.
 *
 * <p>An update is, in this order: mean gradient of the accumulated batches, plus {@code mu (p -
 * start)}; check that it is finite; clip its norm; optimiser step at the scheduled rate.
 */
public final class LocalTrainer {
  private static final int EVALUATION_BATCH = 64;

  private final TunableModel model;
  private final TrainConfig config;
  private final Objective objective;

  public LocalTrainer(TunableModel model, TrainConfig config) {
    this.model = model;
    this.config = config;
    this.objective = model.task().kind().objective(model.task());
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
    UpdateBatches batches =
        new PassBatches(
            examples, config, objective.pairs(), updatesPerPass(examples.size()), random(plan));
    return run(start, examples, plan, plannedUpdates(examples.size()), batches);
  }

  private static Philox random(LocalPlan plan) {
    return Philox.of(plan.seed(), "client", plan.round(), Philox.hash(plan.clientId()));
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
    float[] parameters = start.toArray();
    float[] anchor = plan.proximalMu() > 0 ? start.toArray() : new float[0];
    float[] gradient = new float[parameters.length];
    FlatParameters flat = new FlatParameters(model.layout());
    Optimizer optimizer = Optimizer.of(config, model.layout(), model.roles());
    StepObserver observer = observer(plan, updates);
    MethodState state = model.state();
    Philox dropout = random(plan).child(-1);
    List<Double> losses = new ArrayList<>();
    long tokens = 0;
    model.device().bindThread();
    try (NDManager manager = model.device().newManager()) {
      NDManager frozen = manager.newSubManager();
      BatchForward forward =
          updates > updatesPerPass(examples.size()) && FixedFeatures.fit(model, examples.size())
              ? FixedFeatures.of(model, examples, manager)
              : model.forward(frozen);
      for (int update = 0; update < updates; update++) {
        if (plan.cancelled().getAsBoolean()) {
          throw new CancellationException(
              "training of client " + plan.clientId() + " was cancelled in update " + update);
        }
        Arrays.fill(gradient, 0);
        flat.set(parameters);
        List<int[]> group = batches.of(update);
        Map<String, float[]> probes = new TreeMap<>();
        for (int micro = 0; micro < group.size(); micro++) {
          ExampleBatch batch = model.batch(examples, group.get(micro), objective.pairs());
          Philox random = dropout.child(update).child(micro);
          double loss =
              addGradient(
                  manager,
                  flat,
                  batch,
                  forward,
                  random,
                  1f / group.size(),
                  gradient,
                  Probing.of(observer, update, probes));
          requireFinite("the loss", loss, update, plan);
          losses.add(loss);
          tokens += batch.positions();
        }
        addProximal(gradient, parameters, anchor, (float) plan.proximalMu());
        double norm = norm(gradient);
        requireFinite("the gradient's norm", norm, update, plan);
        clip(gradient, norm);
        double rate = rate(plan, update, updates);
        StepObserver.Update seen =
            new StepObserver.Update(
                update, model.layout(), parameters, gradient, probes, rate, optimizer);
        observer.beforeStep(seen);
        optimizer.step(parameters, gradient, rate);
        Optional<MethodState> changed = observer.afterStep(seen);
        if (changed.isPresent()) {
          state = changed.get();
          frozen.close();
          frozen = manager.newSubManager();
          forward = model.withState(state).forward(frozen);
        }
      }
    }
    ParameterVector trained = ParameterVector.wrap(start.layout(), parameters);
    if (!trained.isFinite()) {
      throw new NonFiniteException("a parameter", Double.NaN, updates - 1, plan.clientId());
    }
    return new LocalResult(
        trained,
        state,
        observer.report(),
        examples.size(),
        updates,
        losses,
        tokens,
        System.nanoTime() - began);
  }

  private StepObserver observer(LocalPlan plan, int updates) {
    TrainingSpan span =
        new TrainingSpan(updates, plan.progressStart(), plan.progressEnd(), plan.alone());
    return model.method().observer(model.state(), span, model.layout(), model.backbone()::frozen);
  }

  /**
   * Which probes an update has and where their gradients go.
   *
   * @param sums by probe; filled
   */
  record Probing(Predicate<String> wanted, Map<String, float[]> sums) {
    static final Probing NONE = new Probing(name -> false, Map.of());

    static Probing of(StepObserver observer, int update, Map<String, float[]> sums) {
      return new Probing(name -> observer.wants(name, update), sums);
    }
  }

  /** Adds {@code factor} times the batch's gradient to {@code sum} and returns the loss. */
  double addGradient(
      NDManager manager,
      FlatParameters flat,
      ExampleBatch batch,
      BatchForward forward,
      Philox random,
      float factor,
      float[] sum,
      Probing probing) {
    Probes probes = Probes.of(probing.wanted());
    try (NDManager step = manager.newSubManager()) {
      NDArray leaf = flat.leaf(step, true);
      NDArray loss;
      try (GradientScope scope = GradientScope.open()) {
        Map<String, NDArray> views = flat.views(leaf);
        List<NDArray> terms = new ArrayList<>();
        TuningContext context = new TuningContext(step, true, random, batch.input(), probes, terms);
        NDArray outputs = forward.outputs(step, views, batch, context);
        loss = objective.loss(step, outputs, batch);
        for (NDArray term : terms) {
          loss = loss.add(term);
        }
        scope.backward(loss);
      }
      flat.addGradient(leaf, factor, sum);
      probes.addGradients(factor, probing.sums());
      return loss.getFloat();
    }
  }

  private static void addProximal(float[] gradient, float[] now, float[] start, float mu) {
    if (mu > 0) {
      for (int i = 0; i < gradient.length; i++) {
        gradient[i] += mu * (now[i] - start[i]);
      }
    }
  }

  private static double norm(float[] gradient) {
    double sum = 0;
    for (float g : gradient) {
      sum += (double) g * g;
    }
    return Math.sqrt(sum);
  }

  private void clip(float[] gradient, double norm) {
    if (config.maxGradNorm() > 0 && norm > config.maxGradNorm()) {
      float factor = (float) (config.maxGradNorm() / norm);
      for (int i = 0; i < gradient.length; i++) {
        gradient[i] *= factor;
      }
    }
  }

  private double rate(LocalPlan plan, int update, int updates) {
    boolean whole = config.scheduleScope().equals("round");
    double from = whole ? 0 : plan.progressStart();
    double length = (whole ? 1 : plan.progressEnd()) - from;
    double start = from + length * update / updates;
    double end = from + length * (update + 1) / updates;
    return config.learningRate()
        * Schedule.named(config.schedule()).factor(start, end, config.warmupRatio());
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

  private Evaluation evaluate(Preparation preparation, TokenExamples examples) {
    requireExamples(examples);
    Evaluation.Counter counter = objective.none().counter();
    forward(
        preparation,
        examples,
        objective.pairs(),
        (batch, outputs) -> counter.add(objective.score(outputs, batch)));
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

  private float[][] logits(Preparation preparation, TokenExamples examples) {
    requireExamples(examples);
    float[][] logits = new float[examples.size()][];
    forward(
        preparation,
        examples,
        false,
        (batch, results) -> {
          float[] outputs = results.toFloatArray();
          int size = outputs.length / batch.input().size();
          for (int row = 0; row < batch.size(); row++) {
            int kept = size;
            if (model.task().kind().isPerToken()) { // after each other, padding last
              int width = (int) results.getShape().get(1);
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
    void accept(ExampleBatch batch, NDArray outputs);
  }

  /** Makes the forward pass of one evaluation, its tensors loaded. */
  private interface Preparation {
    /** From a step and a batch to the outputs. */
    interface Pass {
      NDArray outputs(NDManager step, ExampleBatch batch);
    }

    Pass prepare(NDManager manager);
  }

  private Preparation own(ParameterVector parameters) {
    requireLayout(parameters);
    return manager -> {
      FlatParameters flat = new FlatParameters(model.layout());
      flat.set(parameters.toArray());
      BatchForward forward = model.forward(manager);
      return (step, batch) ->
          forward.outputs(step, flat.views(flat.leaf(step, false)), batch, inference(step, batch));
    };
  }

  private Preparation given(AdapterStack adapters) {
    return manager -> {
      BatchForward forward = model.forward(manager, adapters);
      return (step, batch) -> forward.outputs(step, Map.of(), batch, inference(step, batch));
    };
  }

  private static TuningContext inference(NDManager step, ExampleBatch batch) {
    return TuningContext.inference(step, batch.input());
  }

  private void forward(
      Preparation preparation, TokenExamples examples, boolean pairs, BatchConsumer consumer) {
    ComputeDevice device = model.device();
    device.bindThread();
    int size = pairs ? config.batchSize() : EVALUATION_BATCH;
    try (NDManager manager = device.newManager()) {
      Preparation.Pass pass = preparation.prepare(manager);
      for (int[] indices : Batching.forEvaluation(examples, size, pairs)) {
        try (NDManager step = manager.newSubManager()) {
          ExampleBatch batch = model.batch(examples, indices, pairs);
          consumer.accept(batch, pass.outputs(step, batch));
        }
      }
    }
  }

  private static void requireExamples(TokenExamples examples) {
    if (examples.size() == 0) {
      throw new DataException("there are no examples; a client needs at least one");
    }
  }

  private void requireLayout(ParameterVector parameters) {
    if (!parameters.layout().equals(model.layout())) {
      throw new IllegalArgumentException(
          "parameters have " + parameters.layout() + ", the model " + model.layout());
    }
  }

  private static void requireFinite(String what, double value, int update, LocalPlan plan) {
    if (!Double.isFinite(value)) {
      throw new NonFiniteException(what, value, update, plan.clientId());
    }
  }
}
