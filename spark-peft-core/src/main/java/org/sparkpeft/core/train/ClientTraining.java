package org.sparkpeft.core.train;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CancellationException;
import org.sparkpeft.core.model.TokenExamples;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.StepObserver;
import org.sparkpeft.core.peft.TrainingSpan;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * One client's training under way: its values, its optimiser's memory and what it has seen. Knows
 * what an update does with a gradient and not where that comes from. Belongs to one thread.
 *
 * <p>An update is, in this order: mean gradient of the accumulated batches, plus {@code mu (p -
 * start)}; check that it is finite; clip its norm; optimiser step at the scheduled rate.
 */
final class ClientTraining {
  private final TunableModel model;
  private final TrainConfig config;
  private final TokenExamples examples;
  private final LocalPlan plan;
  private final int updates;
  private final UpdateBatches batches;
  private final float[] parameters;
  private final float[] anchor;
  private final float[] gradient;
  private final Optimizer optimizer;
  private final StepObserver observer;
  private final List<Double> losses = new ArrayList<>();
  private MethodState state;
  private long tokens;
  private int update;

  /**
   * @param start values to start from, of the model's layout
   * @param updates optimiser updates to make
   */
  ClientTraining(
      TunableModel model,
      TrainConfig config,
      ParameterVector start,
      TokenExamples examples,
      LocalPlan plan,
      int updates,
      UpdateBatches batches) {
    this.model = model;
    this.config = config;
    this.examples = examples;
    this.plan = plan;
    this.updates = updates;
    this.batches = batches;
    this.parameters = start.toArray();
    this.anchor = plan.proximalMu() > 0 ? start.toArray() : new float[0];
    this.gradient = new float[parameters.length];
    this.optimizer = Optimizer.of(config, model.layout(), model.roles());
    this.observer =
        model
            .method()
            .observer(
                model.state(),
                new TrainingSpan(updates, plan.progressStart(), plan.progressEnd(), plan.alone()),
                model.layout(),
                model.backbone()::frozen);
    this.state = model.state();
  }

  /** Random numbers of a client's training. */
  static Philox random(LocalPlan plan) {
    return Philox.of(plan.seed(), "client", plan.round(), Philox.hash(plan.clientId()));
  }

  /** Whether updates are left to make. */
  boolean goesOn() {
    return update < updates;
  }

  /** Number of the update under way, from 0. */
  int update() {
    return update;
  }

  TokenExamples examples() {
    return examples;
  }

  /** The values now. */
  float[] parameters() {
    return parameters;
  }

  /** Sum of the gradients of the update under way. */
  float[] gradient() {
    return gradient;
  }

  StepObserver observer() {
    return observer;
  }

  /**
   * Begins an update.
   *
   * @return the batches whose gradients are to be averaged
   * @throws CancellationException if the plan was cancelled
   */
  List<int[]> begin() {
    if (plan.cancelled().getAsBoolean()) {
      throw new CancellationException(
          "training of client " + plan.clientId() + " was cancelled in update " + update);
    }
    Arrays.fill(gradient, 0);
    return batches.of(update);
  }

  /**
   * Notes a batch of the update under way.
   *
   * @throws NonFiniteException if the loss is not finite
   */
  void saw(double loss, long batchTokens) {
    requireFinite("the loss", loss);
    losses.add(loss);
    tokens += batchTokens;
  }

  /**
   * Ends an update with the gradient that was summed.
   *
   * @param probes gradients the observer asked for
   * @return the method's state, if it changed
   * @throws NonFiniteException if the gradient is not finite
   */
  Optional<MethodState> step(Map<String, float[]> probes) {
    addProximal();
    double norm = norm();
    requireFinite("the gradient's norm", norm);
    clip(norm);
    double rate = rate();
    StepObserver.Update seen =
        new StepObserver.Update(
            update, model.layout(), parameters, gradient, probes, rate, optimizer);
    observer.beforeStep(seen);
    optimizer.step(parameters, gradient, rate);
    Optional<MethodState> changed = observer.afterStep(seen);
    changed.ifPresent(now -> state = now);
    update++;
    return changed;
  }

  /**
   * What the training gave.
   *
   * @throws NonFiniteException if a parameter is not finite
   */
  LocalResult result(long nanos) {
    ParameterVector trained = ParameterVector.wrap(model.layout(), parameters);
    if (!trained.isFinite()) {
      throw new NonFiniteException("a parameter", Double.NaN, updates - 1, plan.clientId());
    }
    return new LocalResult(
        trained, state, observer.report(), examples.size(), updates, losses, tokens, nanos);
  }

  /** Tokens seen so far. */
  long tokens() {
    return tokens;
  }

  private void addProximal() {
    float mu = (float) plan.proximalMu();
    if (mu > 0) {
      for (int i = 0; i < gradient.length; i++) {
        gradient[i] += mu * (parameters[i] - anchor[i]);
      }
    }
  }

  private double norm() {
    double sum = 0;
    for (float g : gradient) {
      sum += (double) g * g;
    }
    return Math.sqrt(sum);
  }

  private void clip(double norm) {
    if (config.maxGradNorm() > 0 && norm > config.maxGradNorm()) {
      float factor = (float) (config.maxGradNorm() / norm);
      for (int i = 0; i < gradient.length; i++) {
        gradient[i] *= factor;
      }
    }
  }

  private double rate() {
    boolean whole = config.scheduleScope().equals("round");
    double from = whole ? 0 : plan.progressStart();
    double length = (whole ? 1 : plan.progressEnd()) - from;
    double start = from + length * update / updates;
    double end = from + length * (update + 1) / updates;
    return config.learningRate()
        * Schedule.named(config.schedule()).factor(start, end, config.warmupRatio());
  }

  private void requireFinite(String what, double value) {
    if (!Double.isFinite(value)) {
      throw new NonFiniteException(what, value, update, plan.clientId());
    }
  }
}
