package org.sparkpeft.core.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import com.sun.management.ThreadMXBean;
import java.lang.management.BufferPoolMXBean;
import java.lang.management.ManagementFactory;
import java.util.ArrayList;
import java.util.Map;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.engine.FlatParameters;
import org.sparkpeft.core.engine.GradientScope;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.peft.LoraConfig;
import org.sparkpeft.core.peft.PeftMethods;
import org.sparkpeft.core.peft.Probes;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;

/** Memory that is said beforehand is the memory that training takes. */
class TrainingMemoryTest {
  private static final TaskConfig TASK = Models.classification(3);

  private static TrainConfig training(String optimizer) {
    return new TrainConfig(
        1, 2, 2, 1, optimizer, 1e-3, 0.01, 0.9, 0.999, 1e-8, 0, "constant", "federation", 0, false);
  }

  /** Bytes a training of two updates allocates on the Java heap. */
  private static long heap(TunableModel base, int rank, String optimizer, double mu) {
    TunableModel model = base.withPeft(LoraConfig.defaults().withRank(rank));
    ParameterVector start = model.initialParameters(1);
    LocalTrainer trainer = new LocalTrainer(model, training(optimizer));
    ListExamples examples = ListExamples.random(4, 3, 6, 100, 1);
    LocalPlan plan = new LocalPlan(1, 1, "c", 0, 1, mu, () -> false);
    trainer.train(start, examples, plan);
    ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
    long before = threads.getCurrentThreadAllocatedBytes();
    trainer.train(start, examples, plan);
    return threads.getCurrentThreadAllocatedBytes() - before;
  }

  /** Two ranks, of which everything but the flat arrays is the same. */
  @ParameterizedTest
  @CsvSource({"adamw, 0", "sgd, 0", "adamw, 0.1", "lion, 0", "sm3, 0"})
  void flatArraysAreThoseOfTheTrainer(String optimizer, double mu) {
    ModelDirectory directory = Models.fixture("bert-sequence-classification");
    try (TunableModel base =
        TunableModel.load(directory, TASK, LoraConfig.defaults(), ComputeDevice.cpu())) {
      ParameterLayout small = base.withPeft(LoraConfig.defaults().withRank(16)).layout();
      ParameterLayout large = base.withPeft(LoraConfig.defaults().withRank(512)).layout();
      double heap = (double) heap(base, 512, optimizer, mu) - heap(base, 16, optimizer, mu);
      long said =
          TrainingMemory.of(training(optimizer), large, mu > 0).total()
              - TrainingMemory.of(training(optimizer), small, mu > 0).total();
      // Off the heap are the engine's buffer of the values and its gradient.
      long outside = 2L * 4 * (large.size() - small.size());
      assertThat(heap).isCloseTo(said - outside, within(0.02 * said));
    }
  }

  @Test
  void theEngineHasOneBufferOfValuesAndOneGradient() {
    ModelDirectory directory = Models.fixture("bert-sequence-classification");
    try (TunableModel model =
            TunableModel.load(
                directory, TASK, LoraConfig.defaults().withRank(256), ComputeDevice.cpu());
        NDManager manager = model.device().newManager()) {
      BufferPoolMXBean direct =
          ManagementFactory.getPlatformMXBeans(BufferPoolMXBean.class).stream()
              .filter(pool -> pool.getName().equals("direct"))
              .findFirst()
              .orElseThrow();
      long before = direct.getTotalCapacity();
      FlatParameters flat = new FlatParameters(model.layout());
      TrainingMemory said = TrainingMemory.of(training("sgd"), model.layout(), false);
      assertThat(direct.getTotalCapacity() - before).isEqualTo(said.values() / 2);
      NDArray leaf = flat.leaf(manager, true);
      try (GradientScope scope = GradientScope.open()) {
        scope.backward(leaf.square().sum());
      }
      assertThat(4 * leaf.getGradient().size()).isEqualTo(said.gradients() / 2);
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"LORA", "HOULSBY", "IA3", "PREFIX_TUNING", "NONE"})
  void activationsAreThoseOfARealPass(String type) {
    ModelDirectory directory = Models.fixture("bert-sequence-classification");
    TaskConfig task = new TaskConfig(TASK.task(), TASK.labels(), TASK.pooling(), 12);
    try (TunableModel model =
            TunableModel.load(
                directory, task, PeftMethods.named(type).defaults(), ComputeDevice.cpu());
        NDManager manager = model.device().newManager();
        NDManager step = manager.newSubManager()) {
      TunableModel started = model.started(1);
      ListExamples examples = new ListExamples();
      for (int i = 0; i < 7; i++) {
        int row = i;
        examples.add(IntStream.range(0, 12).map(t -> 1 + row + t).toArray(), 0);
      }
      FlatParameters flat = new FlatParameters(model.layout());
      flat.set(started.initialParameters(1).toArray());
      BatchForward forward = started.forward(manager);
      try (GradientScope scope = GradientScope.open()) {
        Map<String, NDArray> views = flat.views(flat.leaf(step, true));
        ExampleBatch batch =
            ExampleBatch.of(examples, IntStream.range(0, 7).toArray(), false, model.padId());
        long before = bytes(step);
        forward.outputs(
            step,
            views,
            batch,
            new TuningContext(
                step, true, Philox.of(1, "x"), batch.tokens(), Probes.none(), new ArrayList<>()));
        assertThat(TrainingMemory.activations(model, 7)).isEqualTo(bytes(step) - before);
      }
    }
  }

  private static long bytes(NDManager step) {
    return step.getManagedArrays().stream()
        .mapToLong(a -> a.size() * a.getDataType().getNumOfBytes())
        .sum();
  }
}
