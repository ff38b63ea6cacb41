package org.sparkpeft.core.train;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.BiFunction;
import java.util.function.UnaryOperator;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;
import org.sparkpeft.core.engine.ClientParameters;
import org.sparkpeft.core.engine.GradientScope;
import org.sparkpeft.core.engine.LayerScope;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.model.TokenBatch;
import org.sparkpeft.core.model.TokenExamples;
import org.sparkpeft.core.peft.ClientRows;
import org.sparkpeft.core.peft.Probes;
import org.sparkpeft.core.peft.StepObserver;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * Trains several clients in the same passes through the frozen base: their batches are
 * concatenated, and each row meets its own client's parameters. Everything else stays apart: loss,
 * gradient, clipping, optimiser, schedule, number of updates. A client that is done, or whose
 * training fails, takes no further part.
 *
 * <p>What a client gets is, up to rounding, what {@link LocalTrainer} gives it alone: losses are
 * means over a client's own examples and are summed, so that a gradient is its own client's. The
 * last bits depend on who shares the pass, and on nothing else that the client's training alone
 * does not depend on.
 *
 * <p>Of the batches that are due at the same time, those of similar length go through the base
 * together, as many as padding and memory make worth it.
 */
public final class ClientPass {
  /** Tokens, with padding, that go through the base together; more would save nothing. */
  private static final int MAX_TOKENS = 4096;

  /** Tokens of padding that cost about as much as a pass of their own. */
  private static final int MAX_PADDING = 48;

  private final TunableModel model;
  private final TrainConfig config;
  private final LocalTrainer trainer;
  private final Objective objective;

  /**
   * @throws IllegalArgumentException if the model's clients cannot share a pass, see {@link
   *     TunableModel#whyOneByOne}
   */
  public ClientPass(TunableModel model, TrainConfig config) {
    this(model, config, model.task().kind().objective(model.task()));
  }

  ClientPass(TunableModel model, TrainConfig config, Objective objective) {
    model
        .whyOneByOne()
        .ifPresent(
            reason -> {
              throw new IllegalArgumentException("clients cannot share a pass: " + reason);
            });
    this.model = model;
    this.config = config;
    this.trainer = new LocalTrainer(model, config);
    this.objective = objective;
  }

  /**
   * A client of the pass.
   *
   * @param start values to start from
   */
  public record Client(ParameterVector start, TokenExamples examples, LocalPlan plan) {}

  /** How a client's training ended. */
  @FunctionalInterface
  public interface Outcome {
    /**
     * What training gave; its time is the client's share of the pass, by tokens.
     *
     * @throws RuntimeException what {@link LocalTrainer#train} would have thrown
     */
    LocalResult result();
  }

  /** A client under way; failed ones remember why. */
  private static final class Member {
    private final ClientTraining training;
    private @Nullable RuntimeException failure;

    Member(ClientTraining training) {
      this.training = training;
    }

    boolean goesOn() {
      return failure == null && training.goesOn();
    }

    /** Does something that may end this client's training and no other's. */
    void attempt(Runnable work) {
      try {
        work.run();
      } catch (RuntimeException e) {
        failure = e;
      }
    }
  }

  /** A client's batch that is due. */
  private record Due(Member member, ExampleBatch batch, float factor) {}

  /**
   * Trains clients together.
   *
   * @param clients at least one; their order decides the order of rows
   * @return one outcome for each client, in their order
   */
  public List<Outcome> train(List<Client> clients) {
    long began = System.nanoTime();
    List<Member> members = new ArrayList<>();
    List<Outcome> outcomes = new ArrayList<>();
    long[] nanos = new long[1];
    for (Client client : clients) {
      try {
        Member member = new Member(training(client));
        members.add(member);
        outcomes.add(() -> result(member, share(nanos[0], member, members)));
      } catch (DataException e) {
        outcomes.add(
            () -> {
              throw e;
            });
      }
    }
    model.device().bindThread();
    try (NDManager manager = model.device().newManager()) {
      TunableModel.ForwardByClient forward = model.forwardByClient(manager);
      ClientParameters values = new ClientParameters(model.layout(), Math.max(1, members.size()));
      for (List<Member> left = left(members); !left.isEmpty(); left = left(members)) {
        update(manager, forward, values, left);
      }
    }
    nanos[0] = System.nanoTime() - began;
    return outcomes;
  }

  @SuppressWarnings("ReferenceEquality") // The one observer that does nothing.
  private ClientTraining training(Client client) {
    LocalTrainer.requireExamples(client.examples());
    trainer.requireLayout(client.start());
    ClientTraining training =
        new ClientTraining(
            model,
            config,
            client.start(),
            client.examples(),
            client.plan(),
            trainer.plannedUpdates(client.examples().size()),
            trainer.batches(client.examples(), client.plan()));
    if (training.observer() != StepObserver.NONE) {
      throw new IllegalStateException(
          model.peft().peftType() + " watches its training, so its clients cannot share a pass");
    }
    return training;
  }

  private static LocalResult result(Member member, long nanos) {
    if (member.failure != null) {
      throw member.failure;
    }
    return member.training.result(nanos);
  }

  private static long share(long nanos, Member member, List<Member> all) {
    long sum = all.stream().mapToLong(each -> each.training.tokens()).sum();
    return sum == 0 ? 0 : Math.round((double) nanos * member.training.tokens() / sum);
  }

  private static List<Member> left(List<Member> members) {
    return members.stream().filter(Member::goesOn).toList();
  }

  /** One update of each of these clients. */
  private void update(
      NDManager manager,
      TunableModel.ForwardByClient forward,
      ClientParameters values,
      List<Member> members) {
    List<List<int[]>> groups = new ArrayList<>();
    for (Member member : members) {
      List<int[]> group = new ArrayList<>();
      member.attempt(() -> group.addAll(member.training.begin()));
      groups.add(group);
    }
    int most = groups.stream().mapToInt(List::size).max().orElse(0);
    for (int micro = 0; micro < most; micro++) {
      List<Due> due = new ArrayList<>();
      for (int i = 0; i < members.size(); i++) {
        Member member = members.get(i);
        List<int[]> group = groups.get(i);
        if (micro < group.size() && member.goesOn()) {
          int[] indices = group.get(micro);
          member.attempt(() -> due.add(due(member, indices, group.size())));
        }
      }
      for (List<Due> together : together(due)) {
        addGradients(manager, forward, values, together);
      }
    }
    for (Member member : members) {
      if (member.goesOn()) {
        member.attempt(() -> member.training.step(Map.of()));
      }
    }
  }

  private Due due(Member member, int[] indices, int batches) {
    ExampleBatch batch = model.batch(member.training.examples(), indices, objective.pairs());
    return new Due(member, batch, 1f / batches);
  }

  /** Which batches go through the base together: neighbours by length. */
  private static List<List<Due>> together(List<Due> due) {
    List<Due> byWidth = new ArrayList<>(due);
    byWidth.sort(Comparator.comparingInt(each -> each.batch().tokens().width()));
    List<List<Due>> all = new ArrayList<>();
    int rows = 0;
    int width = 0;
    for (Due each : byWidth) {
      TokenBatch tokens = each.batch().tokens();
      int wider = tokens.width() - width;
      if (all.isEmpty()
          || rows * wider > MAX_PADDING
          || (rows + tokens.size()) * tokens.width() > MAX_TOKENS) {
        all.add(new ArrayList<>());
        rows = 0;
      }
      all.get(all.size() - 1).add(each);
      rows += tokens.size();
      width = tokens.width();
    }
    return all;
  }

  /** Adds each client's gradient to its sum. */
  private void addGradients(
      NDManager manager,
      TunableModel.ForwardByClient forward,
      ClientParameters values,
      List<Due> together) {
    TokenBatch tokens =
        TokenBatch.joined(
            together.stream().map(due -> due.batch().tokens()).toList(), model.padId());
    values.set(together.stream().map(due -> due.member().training.parameters()).toList());
    try (NDManager step = manager.newSubManager()) {
      ClientRows rows =
          ClientRows.of(step, together.stream().map(due -> due.batch().tokens().size()).toList());
      NDArray leaf = values.leaf(step, together.size());
      List<Optional<Double>> found =
          new ArrayList<>(Collections.nCopies(together.size(), Optional.of(0.0)));
      try (GradientScope scope = GradientScope.open(model.keeps(config.gradientCheckpointing()))) {
        TuningContext context =
            new TuningContext(
                step, true, Philox.of(0, "unused"), tokens, Probes.none(), new ArrayList<>());
        Outputs outputs = forward.outputs(values.views(leaf, together.size()), rows, context);
        List<Span> spans = objective.spans(outputs);
        Optional<NDArray> sum;
        if (spans.size() == 1) {
          NDList own = outputs.all().split(rows.starts());
          sum = losses(own, tokens, together, found, (o, batch) -> objective.loss(step, o, batch));
        } else {
          sum = Optional.of(inPieces(step, outputs, spans, rows, tokens, together, found));
        }
        if (found.stream().allMatch(Optional::isEmpty)) {
          return;
        }
        scope.backward(sum.orElseThrow());
      }
      values.addGradients(
          leaf,
          factors(together),
          together.stream().map(due -> due.member().training.gradient()).toList());
      for (int i = 0; i < together.size(); i++) {
        Due due = together.get(i);
        found
            .get(i)
            .ifPresent(
                loss ->
                    due.member()
                        .attempt(
                            () -> due.member().training.saw(loss, due.batch().tokens().tokens())));
      }
    }
  }

  /** The sum of all clients' losses where the outputs of all tokens would be too large. */
  private NDArray inPieces(
      NDManager step,
      Outputs outputs,
      List<Span> spans,
      ClientRows rows,
      TokenBatch tokens,
      List<Due> together,
      List<Optional<Double>> found) {
    int width = (int) outputs.features().getShape().get(1);
    List<UnaryOperator<NDArray>> pieces = new ArrayList<>();
    for (Span span : spans) {
      pieces.add(
          features -> {
            NDList own = outputs.of(features, span).split(rows.starts());
            return losses(
                    own,
                    tokens,
                    together,
                    found,
                    (o, batch) -> objective.loss(o, span, width, batch))
                .orElseGet(() -> step.create(0f));
          });
    }
    return LayerScope.sum(step, outputs.features(), pieces);
  }

  /**
   * The sum of all clients' losses.
   *
   * @param found each client's mean loss, added to; becomes empty where its labels do not fit the
   *     task, which ends its training
   */
  private static Optional<NDArray> losses(
      NDList outputs,
      TokenBatch tokens,
      List<Due> together,
      List<Optional<Double>> found,
      BiFunction<NDArray, ExampleBatch, NDArray> lossOf) {
    Optional<NDArray> sum = Optional.empty();
    int from = 0;
    for (int i = 0; i < together.size(); i++) {
      Due due = together.get(i);
      int to = from + due.batch().tokens().size();
      // With the padding of all, as the outputs have it.
      ExampleBatch batch =
          new ExampleBatch(
              due.batch().source(),
              due.batch().indices(),
              tokens.rows(IntStream.range(from, to).toArray()));
      NDArray own = outputs.get(i);
      List<NDArray> loss = new ArrayList<>();
      due.member().attempt(() -> loss.add(lossOf.apply(own, batch)));
      if (loss.isEmpty()) {
        found.set(i, Optional.empty());
      } else {
        NDArray one = loss.get(0);
        found.set(i, found.get(i).map(before -> before + one.getFloat()));
        sum = Optional.of(sum.map(before -> before.add(one)).orElse(one));
      }
      from = to;
    }
    return sum;
  }

  private static float[] factors(List<Due> together) {
    float[] factors = new float[together.size()];
    for (int i = 0; i < factors.length; i++) {
      factors[i] = together.get(i).factor();
    }
    return factors;
  }
}
