package org.sparkpeft.merge.method;

import java.util.List;
import org.sparkpeft.core.vector.TaskVector;

/**
 * Task arithmetic (Ilharco et al., "Editing Models with Task Arithmetic", 2023): lambda * sum(w v).
 * A sum, not a mean: as published, weights are not normalised. A negative weight, or {@link
 * #negate}, makes a model forget a task.
 *
 * @param lambda factor on the sum; published values are about 0.3..0.4 for eight tasks
 */
public record TaskArithmetic(double lambda) implements BlockwiseMethod {
  public TaskArithmetic {
    if (!Double.isFinite(lambda)) {
      throw new IllegalArgumentException("lambda must be finite, got " + lambda);
    }
  }

  @Override
  public Share share(double weight) {
    return Share.of(weight);
  }

  @Override
  public TensorPlan plan(TensorScan tensor, List<Share> shares, List<KeepRule> trims) {
    return BlockPlan.of(BlockPlan.weights(shares), Combination.LINEAR, lambda);
  }

  /** -lambda v: added to the base model, it forgets what v learnt. */
  public TaskVector negate(TaskVector vector) {
    return vector.times((float) -lambda);
  }
}
