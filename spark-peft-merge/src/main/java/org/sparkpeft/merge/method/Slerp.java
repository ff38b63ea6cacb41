package org.sparkpeft.merge.method;

import java.util.List;
import org.sparkpeft.core.vector.TaskVector;

/**
 * Spherical interpolation of two vectors, tensor by tensor: sin((1 - t) a) / sin(a) * first + sin(t
 * a) / sin(a) * second, a being the angle between them. Where they are nearly parallel or opposite
 * (|cos a| above 0.9995), or one is zero, it is linear interpolation.
 *
 * <p>As a {@link BlockwiseMethod} it takes t from the weights: weight of the second over the sum of
 * both, so that t may differ from tensor to tensor.
 *
 * @param t 0 gives the first, 1 the second
 */
public record Slerp(double t) implements BlockwiseMethod {
  private static final double NEARLY_PARALLEL = 0.9995;

  public Slerp {
    if (!(t >= 0 && t <= 1)) {
      throw new IllegalArgumentException("t must be in [0, 1], got " + t);
    }
  }

  /** Interpolates. */
  public TaskVector merge(TaskVector first, TaskVector second) {
    return merge(List.of(first, second), List.of(1 - t, t));
  }

  @Override
  public Share share(double weight) {
    return Share.of(weight);
  }

  @Override
  public boolean ordered() {
    return true;
  }

  @Override
  public void check(List<Share> shares) {
    boolean inRange = shares.stream().allMatch(share -> share.weight() >= 0);
    double total = shares.stream().mapToDouble(Share::weight).sum();
    if (shares.size() != 2 || !inRange || !(total > 0)) {
      throw new IllegalArgumentException(
          "spherical interpolation needs two vectors and weights from 0 up, not both 0, got "
              + BlockPlan.weights(shares));
    }
  }

  @Override
  public TensorPlan plan(TensorScan tensor, List<Share> shares, List<KeepRule> trims) {
    double total = shares.get(0).weight() + shares.get(1).weight();
    double right = shares.get(1).weight() / total;
    double left = 1 - right;
    Angles angles = Angles.of(tensor);
    double cosine = angles.cosine(0, 1);
    if (Math.abs(cosine) <= NEARLY_PARALLEL && angles.bothNonZero(0, 1)) {
      double angle = StrictMath.acos(cosine);
      left = StrictMath.sin(left * angle) / StrictMath.sin(angle);
      right = StrictMath.sin(right * angle) / StrictMath.sin(angle);
    }
    return BlockPlan.of(List.of(left, right), Combination.LINEAR, 1);
  }
}
