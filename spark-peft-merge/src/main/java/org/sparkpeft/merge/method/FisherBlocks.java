package org.sparkpeft.merge.method;

import java.util.Arrays;
import java.util.List;

/**
 * {@link FisherMerging} of vectors of any size: sum(w F v) / sum(w F) for each entry, the Fisher
 * information F being each vector's evidence.
 *
 * @param normalise divide each F by its Euclidean norm over all tensors first
 * @param floor least value of F after that
 */
public record FisherBlocks(boolean normalise, double floor) implements SurveyedMethod {
  @Override
  public Share share(double weight) {
    return Share.of(weight);
  }

  @Override
  public boolean weighsEntries() {
    return true;
  }

  @Override
  public void check(List<Share> shares) {
    if (shares.stream().anyMatch(share -> !(share.weight() > 0))) {
      throw new IllegalArgumentException(
          "fisher needs weights above 0, got " + BlockPlan.weights(shares));
    }
  }

  @Override
  public double[][] survey(VectorSurvey vectors, List<Share> shares) {
    double[] norms = vectors.evidenceNorms();
    double[][] scales = new double[norms.length][1];
    for (int t = 0; t < norms.length; t++) {
      scales[t][0] = normalise && norms[t] > 0 ? 1 / norms[t] : 1;
    }
    return scales;
  }

  @Override
  public BlockwiseMethod informed(double[][] findings) {
    return new Informed(Arrays.stream(findings).map(row -> row[0]).toList(), floor);
  }

  private record Informed(List<Double> scales, double floor) implements BlockwiseMethod {
    @Override
    public Share share(double weight) {
      return Share.of(weight);
    }

    @Override
    public boolean weighsEntries() {
      return true;
    }

    @Override
    public TensorPlan plan(TensorScan tensor, List<Share> shares, List<KeepRule> trims) {
      return new Plan(BlockPlan.weights(shares), scales, floor);
    }
  }

  private record Plan(List<Double> weights, List<Double> scales, double floor)
      implements TensorPlan {
    @Override
    public void merge(Block block, float[] out) {
      int count = weights.size();
      double[] numerator = new double[count];
      double[] denominator = new double[count];
      double[] scale = scales.stream().mapToDouble(Double::doubleValue).toArray();
      double[] weight = weights.stream().mapToDouble(Double::doubleValue).toArray();
      for (int i = 0; i < block.length(); i++) {
        for (int t = 0; t < count; t++) {
          double share = weight[t] * Math.max(floor, block.evidence(t)[i] * scale[t]);
          denominator[t] = share;
          numerator[t] = share * block.values(t)[i];
        }
        out[i] = (float) (Inputs.sum(numerator, count) / Inputs.sum(denominator, count));
      }
    }

    @Override
    public boolean wholeRows() {
      return false;
    }
  }
}
