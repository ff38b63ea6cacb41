package org.sparkpeft.federated.cli;

import java.util.Arrays;
import java.util.List;
import org.sparkpeft.core.model.TokenExamples;
import org.sparkpeft.core.train.LocalPlan;
import org.sparkpeft.core.train.LocalResult;
import org.sparkpeft.core.train.LocalTrainer;
import org.sparkpeft.core.train.TrainConfig;
import org.sparkpeft.core.train.TunableModel;
import org.sparkpeft.core.train.UpdateBatches;

/**
 * A training of which each optimiser update is timed, from its beginning to the next one's.
 *
 * @param result what it gave
 * @param millis of each update
 * @param examples seen in all updates
 */
record TimedTraining(LocalResult result, double[] millis, long examples) {

  /**
   * Trains from the start for a seed.
   *
   * @param model with its initial state
   * @param updates optimiser updates, at least 1
   */
  static TimedTraining run(
      TunableModel model, TrainConfig config, TokenExamples examples, long seed, int updates) {
    LocalTrainer trainer = new LocalTrainer(model, config);
    LocalPlan plan = LocalPlan.alone(seed);
    UpdateBatches batches = trainer.batches(examples, plan);
    long[] began = new long[updates + 1];
    long[] seen = new long[1];
    LocalResult result =
        trainer.train(
            model.initialParameters(seed),
            examples,
            plan,
            updates,
            update -> {
              began[update] = System.nanoTime();
              List<int[]> group = batches.of(update);
              group.forEach(batch -> seen[0] += batch.length);
              return group;
            });
    began[updates] = System.nanoTime();
    double[] millis = new double[updates];
    Arrays.setAll(millis, i -> (began[i + 1] - began[i]) * 1e-6);
    return new TimedTraining(result, millis, seen[0]);
  }
}
