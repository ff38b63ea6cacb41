package org.sparkpeft.core.train;

import java.util.List;
import org.sparkpeft.core.model.TokenExamples;
import org.sparkpeft.core.random.Philox;

/** Batches of one pass over a client's examples after another, each pass shuffled anew. */
final class PassBatches implements UpdateBatches {
  private final TokenExamples examples;
  private final TrainConfig config;
  private final boolean pairs;
  private final int updatesPerPass;
  private final Philox random;
  private int pass = -1;
  private List<int[]> batches = List.of();

  PassBatches(
      TokenExamples examples,
      TrainConfig config,
      boolean pairs,
      int updatesPerPass,
      Philox random) {
    this.examples = examples;
    this.config = config;
    this.pairs = pairs;
    this.updatesPerPass = updatesPerPass;
    this.random = random;
  }

  @Override
  public List<int[]> of(int update) {
    if (update / updatesPerPass != pass) {
      pass = update / updatesPerPass;
      batches =
          Batching.pass(
              examples, config.batchSize(), config.lengthBuckets(), pairs, random.child(pass));
    }
    int group = config.gradientAccumulationSteps();
    int from = update % updatesPerPass * group;
    return batches.subList(from, Math.min(from + group, batches.size()));
  }
}
