package org.sparkpeft.merge.method;

import java.util.Arrays;
import java.util.List;
import org.sparkpeft.core.vector.TaskVector;

/**
 * TIES-Merging (Yadav et al., "TIES-Merging: Resolving Interference When Merging Models", 2023):
 * trim, elect sign, disjoint mean.
 *
 * <p>Definitions differ between programs once vectors have weights; ours, the default, is that of
 * mergekit: the sign is that of the weighted sum of trimmed values, zero counting as positive, and
 * the value is the weighted mean of those that agree, sum(w v) / sum(w), so only the ratios of the
 * weights matter. {@link Convention} has the others.
 *
 * <p>Ours needs only sums over the vectors, so it can be folded one vector at a time, in any order
 * and grouping: keep for each entry the weighted sum and the total weight of the positive and of
 * the negative trimmed values, and give the four to {@link #elect} at the end. Each vector is
 * trimmed alone, by {@link #trim}.
 *
 * @param density fraction of each vector kept by trimming, in (0, 1]; published default 0.2
 * @param perTensor trim within each tensor, not over the whole vector
 * @param lambda factor on the result; 1 without data to tune it, published range 0.8..2.5
 * @param convention which definition
 */
public record Ties(double density, boolean perTensor, double lambda, Convention convention)
    implements BlockwiseMethod {

  /** Whose definition of TIES. */
  public enum Convention {
    /** Weighted signs, weighted mean: ours, and mergekit's with normalize. */
    MERGEKIT,
    /** Signs of unweighted sums; sum(w v) over the number of agreeing vectors (HF PEFT). */
    HF_PEFT,
    /** Weighted signs; sum(w v), not divided by anything: mergekit's without normalize. */
    SUM,
    /**
     * The paper's released code: trimming at a threshold with ties, unweighted signs, a zero sum
     * taking the majority's sign, plain mean. Weights must be equal; {@code perTensor} is not used.
     */
    PAPER
  }

  public Ties {
    if (!(density > 0 && density <= 1) || !Double.isFinite(lambda)) {
      throw new IllegalArgumentException(
          "density must be in (0, 1] and lambda finite, got " + density + " and " + lambda);
    }
  }

  /** Density 0.2, trimmed over the whole vector, lambda 1, our convention. */
  public static Ties defaults() {
    return new Ties(0.2, false, 1, Convention.MERGEKIT);
  }

  /** The first step, on one vector alone. */
  public TaskVector trim(TaskVector vector) {
    if (convention == Convention.PAPER) {
      return Sparsify.trimAtThreshold(vector, density);
    }
    return perTensor ? Sparsify.trimPerTensor(vector, density) : Sparsify.trim(vector, density);
  }

  /**
   * Steps two and three for one entry, in our convention, without lambda.
   *
   * @param positive sum of w v over the positive values
   * @param negative sum of w v over the negative values, at most 0
   * @param positiveWeight sum of w over the positive values
   * @param negativeWeight sum of w over the negative values
   * @return the mean of the heavier side; of the positive one when they are equal; 0 for no values
   */
  public static double elect(
      double positive, double negative, double positiveWeight, double negativeWeight) {
    boolean up = positive + negative >= 0;
    double weight = up ? positiveWeight : negativeWeight;
    return weight > 0 ? (up ? positive : negative) / weight : 0;
  }

  @Override
  public Share share(double weight) {
    return new Share(weight, density, 0, 0);
  }

  @Override
  public boolean trimsGlobally() {
    return !perTensor;
  }

  @Override
  public TensorPlan plan(TensorScan tensor, List<Share> shares, List<KeepRule> trims) {
    if (convention == Convention.PAPER) {
      throw new IllegalArgumentException(
          "the paper's TIES looks at all entries at once; use another convention for large models");
    }
    List<KeepRule> rules = perTensor ? Sparsify.rules(tensor, shares) : trims;
    List<VectorStep> steps = rules.stream().<VectorStep>map(VectorStep.Keep::new).toList();
    Combination combination =
        switch (convention) {
          case MERGEKIT -> Combination.TIES;
          case SUM -> Combination.TIES_SUM;
          case HF_PEFT, PAPER -> Combination.TIES_HF;
        };
    return new BlockPlan(steps, BlockPlan.weights(shares), combination, lambda);
  }

  @Override
  public TaskVector merge(List<TaskVector> vectors, List<Double> weights) {
    return convention == Convention.PAPER
        ? mergeAsPublished(vectors, weights)
        : BlockwiseMethod.super.merge(vectors, weights);
  }

  private TaskVector mergeAsPublished(List<TaskVector> vectors, List<Double> weights) {
    if (weights.stream().distinct().count() > 1) {
      throw new IllegalArgumentException(
          "the paper's TIES has no weights, got " + weights + "; use convention MERGEKIT");
    }
    Inputs trimmed = Inputs.of(vectors.stream().map(this::trim).toList(), weights);
    Block whole = trimmed.block();
    double[] ones = new double[vectors.size()];
    Arrays.fill(ones, 1);
    float[] merged = new float[trimmed.size()];
    Combine.disjoint(
        whole,
        ones,
        ElectSign.MASS_OR_MAJORITY.signs(whole, ones),
        Combine.Divisor.WEIGHT,
        lambda,
        merged);
    return TaskVector.wrap(trimmed.layout(), merged);
  }
}
