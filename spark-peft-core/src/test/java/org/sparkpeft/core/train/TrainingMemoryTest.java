package org.sparkpeft.core.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import com.sun.management.ThreadMXBean;
import java.lang.management.BufferPoolMXBean;
import java.lang.management.ManagementFactory;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.engine.FlatParameters;
import org.sparkpeft.core.engine.GradientScope;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.peft.LoraConfig;
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
      Map<String, NDArray> leaves = flat.leaves(manager);
      try (GradientScope scope = GradientScope.open()) {
        NDArray sum = manager.create(0f);
        for (NDArray leaf : leaves.values()) {
          sum = sum.add(leaf.square().sum());
        }
        scope.backward(sum);
      }
      assertThat(leaves.values().stream().mapToLong(l -> 4 * l.getGradient().size()).sum())
          .isEqualTo(said.gradients() / 2);
    }
  }
}
