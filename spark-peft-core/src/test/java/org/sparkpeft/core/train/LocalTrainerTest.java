package org.sparkpeft.core.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CancellationException;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.peft.HeadOnlyConfig;
import org.sparkpeft.core.peft.LoraConfig;
import org.sparkpeft.core.peft.TargetModules;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterVector;
import org.sparkpeft.core.vector.TaskVector;

class LocalTrainerTest {
  private static final LoraConfig LORA =
      new LoraConfig(
          3,
          6,
          0.1,
          TargetModules.of("query", "value", "output.dense"),
          List.of(),
          false,
          "false",
          java.util.Map.of(),
          java.util.Map.of(),
          List.of(),
          List.of("classifier"));

  private static final TrainConfig CONFIG =
      new TrainConfig(
          4, 0, 8, 1, "adamw", 1e-2, 0.01, 0.9, 0.999, 1e-8, 1, "rex", "federation", 0, true);

  private static TunableModel model;

  @BeforeAll
  static void load() {
    model =
        TunableModel.load(
            Models.fixture("bert-sequence-classification"),
            Models.classification(3),
            LORA,
            ComputeDevice.cpu());
  }

  @AfterAll
  static void free() {
    if (model != null) {
      model.close();
    }
  }

  private static LocalPlan plan(int round, String client) {
    return new LocalPlan(11, round, client, 0, 1, 0, () -> false);
  }

  private static ListExamples examples(long seed) {
    return ListExamples.random(61, 3, 17, 160, seed);
  }

  @Test
  void learns() {
    LocalTrainer trainer = new LocalTrainer(model, CONFIG);
    ParameterVector start = model.initialParameters(5);
    ListExamples examples = examples(1);
    Evaluation before = trainer.evaluate(start, examples);
    LocalResult result = trainer.train(start, examples, plan(0, "a"));
    Evaluation after = trainer.evaluate(result.parameters(), examples);
    assertThat(result.steps()).isEqualTo(4 * 8);
    assertThat(result.numExamples()).isEqualTo(61);
    long tokens = 0;
    for (int i = 0; i < examples.size(); i++) {
      tokens += examples.tokens(i).length;
    }
    assertThat(result.tokens()).isEqualTo(4 * tokens);
    assertThat(after.loss()).isLessThan(0.5 * before.loss());
    assertThat(after.accuracy()).isGreaterThan(0.8);
    assertThat(start).isEqualTo(model.initialParameters(5));
  }

  @Test
  void flatGradientIsThatOfFiniteDifferences() {
    LocalTrainer trainer = new LocalTrainer(model, CONFIG);
    float[] start = model.initialParameters(5).toArray();
    ListExamples examples = examples(2);
    int[] indices = {0, 5, 9, 12, 33};
    float[] gradient = new float[start.length];
    loss(trainer, start, examples, indices, gradient);
    Philox random = Philox.of(4, "directions");
    for (int trial = 0; trial < 8; trial++) {
      float[] direction = random.child(trial).gaussian(start.length, 1);
      double norm = 0;
      double expected = 0;
      for (int i = 0; i < start.length; i++) {
        norm += (double) direction[i] * direction[i];
        expected += (double) direction[i] * gradient[i];
      }
      norm = Math.sqrt(norm);
      double epsilon = 0.02;
      double up =
          loss(
              trainer,
              moved(start, direction, epsilon / norm),
              examples,
              indices,
              new float[start.length]);
      double down =
          loss(
              trainer,
              moved(start, direction, -epsilon / norm),
              examples,
              indices,
              new float[start.length]);
      assertThat((up - down) / (2 * epsilon))
          .as("direction %d", trial)
          .isCloseTo(expected / norm, Offset.offset(2e-4));
    }
  }

  private static float[] moved(float[] start, float[] direction, double factor) {
    float[] moved = start.clone();
    for (int i = 0; i < moved.length; i++) {
      moved[i] += (float) (factor * direction[i]);
    }
    return moved;
  }

  private static double loss(
      LocalTrainer trainer, float[] at, ListExamples examples, int[] indices, float[] gradient) {
    return trainer.loss(at, examples, indices, model::forward, gradient);
  }

  @Test
  void aHeadAloneTrainsOnFeaturesComputedOnce() {
    TunableModel head = model.withPeft(HeadOnlyConfig.defaults());
    assertThat(head.hasFixedFeatures()).isTrue();
    assertThat(model.hasFixedFeatures()).isFalse();
    LocalTrainer trainer = new LocalTrainer(head, CONFIG);
    ParameterVector start = head.initialParameters(5);
    ListExamples examples = examples(1);
    float[] direct = new float[start.size()];
    float[] kept = new float[start.size()];
    int[] indices = {5, 1, 60, 33};
    double loss = trainer.loss(start.toArray(), examples, indices, head::forward, direct);
    assertThat(
            trainer.loss(
                start.toArray(),
                examples,
                indices,
                manager -> FixedFeatures.of(head, examples, manager),
                kept))
        .isCloseTo(loss, Offset.offset(1e-6));
    assertThat(kept).usingComparatorWithPrecision(1e-6f).containsExactly(direct);
    assertThat(direct).isNotEqualTo(new float[direct.length]);
    LocalResult result = trainer.train(start, examples, plan(0, "a"));
    assertThat(trainer.evaluate(result.parameters(), examples).metrics().get("loss"))
        .isLessThan(trainer.evaluate(start, examples).metrics().get("loss"));
  }

  @Test
  void sameBitsAgainAndOnConcurrentThreads() throws InterruptedException, ExecutionException {
    LocalTrainer trainer = new LocalTrainer(model, CONFIG);
    ParameterVector start = model.initialParameters(5);
    List<ParameterVector> alone = new ArrayList<>();
    for (int client = 0; client < 4; client++) {
      alone.add(trainer.train(start, examples(client), plan(1, "client" + client)).parameters());
    }
    ExecutorService threads = Executors.newFixedThreadPool(2);
    try {
      for (int repeat = 0; repeat < 3; repeat++) {
        List<Future<ParameterVector>> together = new ArrayList<>();
        for (int client = 0; client < 4; client++) {
          int c = client;
          together.add(
              threads.submit(
                  () -> trainer.train(start, examples(c), plan(1, "client" + c)).parameters()));
        }
        for (int client = 0; client < 4; client++) {
          assertThat(together.get(client).get()).isEqualTo(alone.get(client));
        }
      }
    } finally {
      threads.shutdown();
    }
    assertThat(alone.get(0)).isNotEqualTo(alone.get(1));
  }

  @Test
  void randomnessDependsOnSeedRoundAndClientOnly() {
    LocalTrainer trainer = new LocalTrainer(model, CONFIG);
    ParameterVector start = model.initialParameters(5);
    ParameterVector once = trainer.train(start, examples(3), plan(2, "x")).parameters();
    assertThat(trainer.train(start, examples(3), plan(2, "x")).parameters()).isEqualTo(once);
    assertThat(trainer.train(start, examples(3), plan(3, "x")).parameters()).isNotEqualTo(once);
    assertThat(trainer.train(start, examples(3), plan(2, "y")).parameters()).isNotEqualTo(once);
  }

  @Test
  void accumulatedBatchesEqualOneLargeBatch() {
    LoraConfig noDropout =
        new LoraConfig(
            2,
            4,
            0,
            TargetModules.of("query"),
            List.of(),
            false,
            "true",
            java.util.Map.of(),
            java.util.Map.of(),
            List.of(),
            List.of());
    ListExamples examples = ListExamples.random(48, 3, 12, 160, 8);
    try (TunableModel plain =
        TunableModel.load(
            Models.fixture("bert-sequence-classification"),
            Models.classification(3),
            noDropout,
            ComputeDevice.cpu())) {
      ParameterVector start = plain.initialParameters(1);
      ParameterVector large = trained(plain, start, examples, 12, 1);
      ParameterVector small = trained(plain, start, examples, 4, 3);
      assertThat(small.minus(large).norm()).isLessThan(1e-3 * large.minus(start).norm());
    }
  }

  private static ParameterVector trained(
      TunableModel on, ParameterVector start, ListExamples examples, int batch, int accumulation) {
    TrainConfig config =
        new TrainConfig(
            1,
            0,
            batch,
            accumulation,
            "sgd",
            0.05,
            0,
            0.9,
            0.999,
            1e-8,
            0,
            "linear",
            "round",
            0,
            false);
    return new LocalTrainer(on, config).train(start, examples, plan(0, "a")).parameters();
  }

  @Test
  void proximalTermPullsTowardsTheStart() {
    LocalTrainer trainer = new LocalTrainer(model, CONFIG);
    ParameterVector start = model.initialParameters(5);
    LocalPlan free = plan(0, "a");
    LocalPlan pulled = new LocalPlan(11, 0, "a", 0, 1, 1.0, () -> false);
    TaskVector far = trainer.train(start, examples(1), free).parameters().minus(start);
    TaskVector near = trainer.train(start, examples(1), pulled).parameters().minus(start);
    assertThat(near.norm()).isLessThan(0.95 * far.norm());
  }

  @Test
  void stopsWhenCancelled() {
    AtomicInteger asked = new AtomicInteger();
    LocalPlan plan = new LocalPlan(1, 0, "a", 0, 1, 0, () -> asked.incrementAndGet() > 3);
    assertThatThrownBy(
            () ->
                new LocalTrainer(model, CONFIG)
                    .train(model.initialParameters(5), examples(1), plan))
        .isInstanceOf(CancellationException.class)
        .hasMessageContaining("update 3");
  }

  @Test
  void saysWhenTrainingDiverges() {
    TrainConfig wild =
        new TrainConfig(
            4, 0, 8, 1, "sgd", 100, 0, 0.9, 0.999, 1e-8, 0, "constant", "round", 0, true);
    float[] huge = model.initialParameters(5).toArray();
    for (int i = 0; i < huge.length; i++) {
      huge[i] *= 1e18f;
    }
    ParameterVector start = ParameterVector.wrap(model.layout(), huge);
    assertThatThrownBy(
            () -> new LocalTrainer(model, wild).train(start, examples(1), plan(0, "alice")))
        .isInstanceOf(NonFiniteException.class)
        .hasMessageContaining("alice");
  }

  @Test
  void refusesExamplesThatDoNotFit() {
    LocalTrainer trainer = new LocalTrainer(model, CONFIG);
    ParameterVector start = model.initialParameters(5);
    assertThatThrownBy(() -> trainer.train(start, new ListExamples(), plan(0, "a")))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("no examples");
    ListExamples wrong = new ListExamples().add(new int[] {2, 7, 3}, 3);
    assertThatThrownBy(() -> trainer.train(start, wrong, plan(0, "a")))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("0..2");
    assertThatThrownBy(() -> trainer.evaluate(start, wrong)).isInstanceOf(DataException.class);
  }

  @Test
  void plansUpdates() {
    assertThat(new LocalTrainer(model, CONFIG).plannedUpdates(61)).isEqualTo(32);
    TrainConfig steps =
        new TrainConfig(
            4, 5, 8, 2, "adamw", 1e-3, 0, 0.9, 0.999, 1e-8, 1, "rex", "federation", 0, true);
    LocalTrainer trainer = new LocalTrainer(model, steps);
    assertThat(trainer.plannedUpdates(61)).isEqualTo(5);
    LocalResult result =
        trainer.train(model.initialParameters(5), examples(1), plan(0, "a")); // 4 updates a pass
    assertThat(result.steps()).isEqualTo(5);
  }
}
