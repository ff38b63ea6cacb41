package org.sparkpeft.core.train;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.Function;
import java.util.function.Predicate;
import java.util.function.Supplier;
import java.util.function.UnaryOperator;
import org.sparkpeft.core.engine.Cores;
import org.sparkpeft.core.engine.FlatParameters;
import org.sparkpeft.core.engine.GradientScope;
import org.sparkpeft.core.model.TokenExamples;
import org.sparkpeft.core.peft.Probes;
import org.sparkpeft.core.peft.StepObserver;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;

/**
 * Losses and gradients of batches, on all cores of a task: where the loss is a mean over examples,
 * each core computes that of some of them, and these are put together in the same order every time.
 * Else the engine divides each operation. Belongs to one thread.
 */
final class BatchGradients implements AutoCloseable {
  private final TunableModel model;
  private final TrainConfig config;
  private final Objective objective;
  private final FlatParameters flat;
  private final List<Core> cores = new ArrayList<>();

  /** What one core computes with. */
  private static final class Core implements AutoCloseable {
    private final NDManager manager;
    private final UnaryOperator<BatchForward> judged;
    private final float[] gradient;
    private NDManager frozen;
    private BatchForward forward;

    Core(
        NDManager manager,
        UnaryOperator<BatchForward> judged,
        int parameters,
        Function<NDManager, BatchForward> preparation) {
      this.manager = manager;
      this.judged = judged;
      this.gradient = new float[parameters];
      this.frozen = manager.newSubManager();
      this.forward = judged.apply(preparation.apply(frozen));
    }

    void prepare(Function<NDManager, BatchForward> preparation) {
      frozen.close();
      frozen = manager.newSubManager();
      forward = judged.apply(preparation.apply(frozen));
    }

    @Override
    public void close() {
      manager.close();
    }
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

  /**
   * What a batch gave beside its gradient.
   *
   * @param loss mean loss
   * @param terms numbers of which that is the mean; 0 where a part has none
   * @param tokens without padding
   */
  record Seen(double loss, long terms, long tokens) {}

  /**
   * @param judged from an owner to what the objective sees of a forward pass; called for each core,
   *     as the next
   * @param preparation from an owner to a forward pass
   * @param alone whether a single core is to do all of the work
   */
  BatchGradients(
      TunableModel model,
      TrainConfig config,
      Objective objective,
      Function<NDManager, UnaryOperator<BatchForward>> judged,
      Function<NDManager, BatchForward> preparation,
      boolean alone) {
    this.model = model;
    this.config = config;
    this.objective = objective;
    this.flat = new FlatParameters(model.layout());
    boolean apart = !alone && objective.isMean() && model.isTokenwise() && !model.device().isGpu();
    int count = apart ? model.device().mathThreads() : 1;
    try {
      for (int i = 0; i < count; i++) {
        int parameters = count == 1 ? 0 : model.layout().size();
        NDManager manager = model.device().newManager();
        cores.add(new Core(manager, judged.apply(manager), parameters, preparation));
      }
    } catch (RuntimeException e) {
      close();
      throw e;
    }
  }

  /** Goes on with other values. */
  void set(float[] parameters) {
    flat.set(parameters);
  }

  /** Goes on with other forward passes, as after a change of the method's state. */
  void prepare(Function<NDManager, BatchForward> preparation) {
    cores.forEach(core -> core.prepare(preparation));
  }

  /**
   * Adds {@code factor} times a batch's gradient to {@code sum}.
   *
   * @param indices the batch's examples
   * @param random of this batch alone
   */
  Seen add(
      TokenExamples examples,
      int[] indices,
      Philox random,
      float factor,
      float[] sum,
      Probing probing) {
    int count = Math.min(cores.size(), indices.length);
    if (count > 1) {
      List<Map<String, float[]>> probes = new ArrayList<>();
      List<Supplier<Seen>> parts = new ArrayList<>();
      for (int i = 0; i < count; i++) {
        Core core = cores.get(i);
        Philox own = random.child(i);
        Probing part = new Probing(probing.wanted(), new TreeMap<>());
        probes.add(part.sums());
        int[] some =
            Arrays.copyOfRange(
                indices,
                (int) ((long) indices.length * i / count),
                (int) ((long) indices.length * (i + 1) / count));
        parts.add(
            () -> {
              Arrays.fill(core.gradient, 0);
              return add(core, true, examples, some, own, 1, core.gradient, part);
            });
      }
      List<Seen> seen = Cores.run(model.device(), parts);
      long terms = seen.stream().mapToLong(Seen::terms).sum();
      if (terms > 0) {
        double loss = 0;
        for (int i = 0; i < count; i++) {
          double share = (double) seen.get(i).terms() / terms;
          loss += share * seen.get(i).loss();
          float times = (float) (factor * share);
          addTo(sum, times, cores.get(i).gradient);
          probes
              .get(i)
              .forEach(
                  (name, values) ->
                      addTo(
                          probing.sums().computeIfAbsent(name, key -> new float[values.length]),
                          times,
                          values));
        }
        return new Seen(loss, terms, seen.stream().mapToLong(Seen::tokens).sum());
      }
      // Nothing to learn in any part: the whole says so in its own words.
    }
    Supplier<Seen> whole =
        () -> add(cores.get(0), false, examples, indices, random, factor, sum, probing);
    return Cores.run(model.device(), List.of(whole)).get(0);
  }

  private static void addTo(float[] sum, float factor, float[] values) {
    for (int i = 0; i < values.length; i++) {
      sum[i] += factor * values[i];
    }
  }

  /**
   * @param part whether there are others, so that it matters how many terms the loss has
   */
  private Seen add(
      Core core,
      boolean part,
      TokenExamples examples,
      int[] indices,
      Philox random,
      float factor,
      float[] sum,
      Probing probing) {
    ExampleBatch batch = model.batch(examples, indices, objective.pairs());
    Probes probes = Probes.of(probing.wanted());
    try (NDManager step = core.manager.newSubManager()) {
      Map<String, NDArray> leaves = flat.leaves(step);
      Seen seen;
      try (GradientScope scope = GradientScope.open(model.keeps(config.gradientCheckpointing()));
          NDManager above = step.newSubManager()) {
        List<NDArray> terms = new ArrayList<>();
        TuningContext context = new TuningContext(step, true, random, batch.input(), probes, terms);
        Outputs outputs = core.forward.outputs(step, leaves, batch, context);
        outputs.features().attach(above);
        long counted = part ? objective.terms(outputs, batch) : 1;
        if (counted == 0) {
          return new Seen(0, 0, batch.positions());
        }
        NDArray loss = objective.loss(above, outputs, batch);
        for (NDArray term : terms) {
          loss = loss.add(term);
        }
        seen = new Seen(loss.getFloat(), counted, batch.positions());
        scope.backward(loss, above);
      }
      flat.addGradients(leaves, factor, sum);
      probes.addGradients(factor, probing.sums());
      return seen;
    }
  }

  @Override
  public void close() {
    cores.forEach(Core::close);
  }
}
