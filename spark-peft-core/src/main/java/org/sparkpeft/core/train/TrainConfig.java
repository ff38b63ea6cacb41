package org.sparkpeft.core.train;

import java.io.Serializable;
import java.util.List;
import org.sparkpeft.core.error.Problems;

/**
 * How a client trains in a round.
 *
 * @param localEpochs passes over the client's examples; used when {@code localSteps} is 0
 * @param localSteps optimiser updates a round, cycling through the examples; 0 means {@code
 *     localEpochs} decide
 * @param batchSize examples a batch
 * @param gradientAccumulationSteps batches whose gradients are averaged for one update
 * @param optimizer {@code adamw}, {@code adamw_8bit} (moments in bytes), {@code adafactor} and
 *     {@code sm3} (a moment for each row and column), {@code lion} or {@code sgd}
 * @param learningRate peak rate
 * @param weightDecay decoupled decay, multiplied by the rate
 * @param adamBeta1 decay of the first moment; of Lion's direction
 * @param adamBeta2 decay of the second moment, at most this in Adafactor; of Lion's momentum
 * @param adamEpsilon added to the root of the second moment
 * @param maxGradNorm gradients are scaled down to this Euclidean norm; 0 switches clipping off
 * @param schedule {@code constant}, {@code linear}, {@code cosine} or {@code rex}
 * @param scheduleScope {@code federation}: one schedule over all rounds; {@code round}: each round
 *     runs a whole schedule
 * @param warmupRatio fraction of the schedule spent rising linearly from 0
 * @param lengthBuckets group examples of similar length in batches, which saves computing padding
 * @param gradientCheckpointing keep each layer's input alone and compute the layer a second time in
 *     the backward pass: much less memory for half to nine tenths more time, and the same result
 * @param clientsPerPass clients that share passes through the base; how many changes the last bits
 *     of a result and nothing else
 */
public record TrainConfig(
    int localEpochs,
    int localSteps,
    int batchSize,
    int gradientAccumulationSteps,
    String optimizer,
    double learningRate,
    double weightDecay,
    double adamBeta1,
    double adamBeta2,
    double adamEpsilon,
    double maxGradNorm,
    String schedule,
    String scheduleScope,
    double warmupRatio,
    boolean lengthBuckets,
    boolean gradientCheckpointing,
    ClientsPerPass clientsPerPass)
    implements Serializable {

  public TrainConfig {
    new Problems()
        .require(
            localEpochs >= 1 && localEpochs <= 10_000,
            "local_epochs",
            localEpochs,
            "must be 1..10000")
        .require(
            localSteps >= 0 && localSteps <= 10_000_000,
            "local_steps",
            localSteps,
            "must be 0 (epochs decide) or a number of updates")
        .require(
            batchSize >= 1 && batchSize <= 65_536,
            "batch_size",
            batchSize,
            "must be 1..65536; try 8 or 16")
        .require(
            gradientAccumulationSteps >= 1 && gradientAccumulationSteps <= 65_536,
            "gradient_accumulation_steps",
            gradientAccumulationSteps,
            "must be 1..65536")
        .require(
            Optimizer.NAMES.contains(optimizer),
            "optimizer",
            optimizer,
            "must be one of " + String.join(", ", Optimizer.NAMES))
        .require(
            learningRate > 0 && learningRate <= 100,
            "learning_rate",
            learningRate,
            "must be above 0 and at most 100; LoRA usually takes 1e-4 to 5e-3")
        .require(
            weightDecay >= 0 && weightDecay <= 10, "weight_decay", weightDecay, "must be 0..10")
        .require(adamBeta1 >= 0 && adamBeta1 < 1, "adam_beta1", adamBeta1, "must be in [0, 1)")
        .require(adamBeta2 >= 0 && adamBeta2 < 1, "adam_beta2", adamBeta2, "must be in [0, 1)")
        .require(adamEpsilon > 0, "adam_epsilon", adamEpsilon, "must be above 0")
        .require(
            maxGradNorm >= 0 && Double.isFinite(maxGradNorm),
            "max_grad_norm",
            maxGradNorm,
            "must be 0 (off) or above")
        .require(
            List.of("constant", "linear", "cosine", "rex").contains(schedule),
            "schedule",
            schedule,
            "must be constant, linear, cosine or rex")
        .require(
            List.of("federation", "round").contains(scheduleScope),
            "schedule_scope",
            scheduleScope,
            "must be federation or round")
        .require(
            warmupRatio >= 0 && warmupRatio < 1, "warmup_ratio", warmupRatio, "must be in [0, 1)")
        .throwIfAny();
  }

  /** Clients one by one. */
  public TrainConfig(
      int localEpochs,
      int localSteps,
      int batchSize,
      int gradientAccumulationSteps,
      String optimizer,
      double learningRate,
      double weightDecay,
      double adamBeta1,
      double adamBeta2,
      double adamEpsilon,
      double maxGradNorm,
      String schedule,
      String scheduleScope,
      double warmupRatio,
      boolean lengthBuckets) {
    this(
        localEpochs,
        localSteps,
        batchSize,
        gradientAccumulationSteps,
        optimizer,
        learningRate,
        weightDecay,
        adamBeta1,
        adamBeta2,
        adamEpsilon,
        maxGradNorm,
        schedule,
        scheduleScope,
        warmupRatio,
        lengthBuckets,
        false,
        ClientsPerPass.ONE);
  }

  public static TrainConfig defaults() {
    return new TrainConfig(
        1, 0, 8, 1, "adamw", 3e-3, 0.01, 0.9, 0.999, 1e-8, 1.0, "rex", "federation", 0, true);
  }

  public TrainConfig withLocalEpochs(int epochs) {
    return with(epochs, localSteps, batchSize, learningRate, gradientCheckpointing, clientsPerPass);
  }

  /** The same, for so many updates instead of epochs. */
  public TrainConfig withLocalSteps(int steps) {
    return with(localEpochs, steps, batchSize, learningRate, gradientCheckpointing, clientsPerPass);
  }

  public TrainConfig withBatchSize(int size) {
    return with(localEpochs, localSteps, size, learningRate, gradientCheckpointing, clientsPerPass);
  }

  public TrainConfig withLearningRate(double rate) {
    return with(localEpochs, localSteps, batchSize, rate, gradientCheckpointing, clientsPerPass);
  }

  public TrainConfig withClientsPerPass(ClientsPerPass clients) {
    return with(localEpochs, localSteps, batchSize, learningRate, gradientCheckpointing, clients);
  }

  public TrainConfig withGradientCheckpointing(boolean on) {
    return with(localEpochs, localSteps, batchSize, learningRate, on, clientsPerPass);
  }

  private TrainConfig with(
      int newEpochs,
      int newSteps,
      int newBatchSize,
      double newRate,
      boolean newCheckpointing,
      ClientsPerPass newClients) {
    return new TrainConfig(
        newEpochs,
        newSteps,
        newBatchSize,
        gradientAccumulationSteps,
        optimizer,
        newRate,
        weightDecay,
        adamBeta1,
        adamBeta2,
        adamEpsilon,
        maxGradNorm,
        schedule,
        scheduleScope,
        warmupRatio,
        lengthBuckets,
        newCheckpointing,
        newClients);
  }
}
