package org.sparkpeft.merge.method;

import java.util.Arrays;
import java.util.List;
import org.sparkpeft.core.vector.TaskVector;

/**
 * PCB-Merging (Du et al., "Parameter Competition Balancing for Model Merging", 2024), as its
 * released code does it, which differs from the formulas of the paper. For T vectors v_t:
 *
 * <ol>
 *   <li>magnitudes are clamped to their 0.01 % and 99.99 % order statistics
 *   <li>importance within a vector: exp(T n^2), n the clamped magnitude scaled to 0..1
 *   <li>agreement between vectors: tanh(v_t * sum of all v)
 *   <li>their product, raised to its (1 - density) order statistic and scaled to 0..1, is the
 *       entry's share m_t
 *   <li>result = lambda * sum(w_t v_t m_t) / sum(m_t), of clamped v_t
 * </ol>
 *
 * Weights are the factors per task, 1 if not searched for. Order statistics and scales are those of
 * whole vectors, so large ones are surveyed before they are merged. Scores are rounded to floats.
 *
 * @param density fraction of entries that compete, published 0.05..0.2
 * @param lambda factor on the result
 * @param clampOutliers whether to do the first step
 */
public record PcbMerging(double density, double lambda, boolean clampOutliers)
    implements SurveyedMethod {
  private static final double TAIL = 1e-4;

  public PcbMerging {
    if (!(density > 0 && density <= 1) || !Double.isFinite(lambda)) {
      throw new IllegalArgumentException(
          "density must be in (0, 1] and lambda finite, got " + density + " and " + lambda);
    }
  }

  @Override
  public Share share(double weight) {
    return new Share(weight, density, 0, 0);
  }

  @Override
  public double[][] survey(VectorSurvey vectors, List<Share> shares) {
    long size = vectors.size();
    long[] ends = {low(size), high(size)};
    long[][] ranks = new long[vectors.vectors()][];
    Arrays.fill(ranks, ends);
    float[][] limits = vectors.ofRank(PcbMerging::magnitudes, ranks);
    for (int t = 0; t < ranks.length; t++) {
      ranks[t] = new long[] {cut(size, shares.get(t).density()), size - 1};
    }
    float[][] scores = vectors.ofRank(new Scores(limits), ranks);
    double[][] findings = new double[ranks.length][];
    for (int t = 0; t < findings.length; t++) {
      findings[t] = new double[] {limits[t][0], limits[t][1], scores[t][0], scores[t][1]};
    }
    return findings;
  }

  @Override
  public BlockwiseMethod informed(double[][] findings) {
    return new Informed(Arrays.stream(findings).map(PcbLevels::of).toList(), lambda);
  }

  private static void magnitudes(Block block, int vector, float[] out) {
    float[] values = block.values(vector);
    for (int i = 0; i < block.length(); i++) {
      out[i] = Math.abs(values[i]);
    }
  }

  private long low(long size) {
    return clampOutliers ? Math.min(size - 1, (long) Math.floor(size * TAIL)) : 0;
  }

  private long high(long size) {
    return clampOutliers
        ? Math.max(0, Math.min(size - 1, (long) Math.floor(size * (1 - TAIL) - 1)))
        : size - 1;
  }

  private static long cut(long size, double density) {
    return Math.min(size - 1, (long) Math.floor(size * (1 - density) + 1e-9));
  }

  /** Scores of a vector's entries, once its limits are known. */
  @SuppressWarnings("ArrayRecordComponent") // Travels, is never compared.
  private record Scores(float[][] limits) implements VectorSurvey.Quantity {
    @Override
    public void of(Block block, int vector, float[] out) {
      int count = block.vectors();
      double[] terms = new double[count];
      PcbLevels levels = new PcbLevels(limits[vector][0], limits[vector][1], 0, 0);
      for (int i = 0; i < block.length(); i++) {
        for (int t = 0; t < count; t++) {
          terms[t] = block.values(t)[i];
        }
        out[i] = levels.score(block.values(vector)[i], Inputs.sum(terms, count), count);
      }
    }
  }

  private record Informed(List<PcbLevels> levels, double lambda) implements BlockwiseMethod {
    @Override
    public Share share(double weight) {
      return Share.of(weight);
    }

    @Override
    public TensorPlan plan(TensorScan tensor, List<Share> shares, List<KeepRule> trims) {
      return new Plan(levels, BlockPlan.weights(shares), lambda);
    }
  }

  private record Plan(List<PcbLevels> levels, List<Double> weights, double lambda)
      implements TensorPlan {
    @Override
    public void merge(Block block, float[] out) {
      int count = levels.size();
      double[] terms = new double[count];
      double[] numerator = new double[count];
      double[] denominator = new double[count];
      for (int i = 0; i < block.length(); i++) {
        for (int t = 0; t < count; t++) {
          terms[t] = block.values(t)[i];
        }
        double total = Inputs.sum(terms, count);
        for (int t = 0; t < count; t++) {
          PcbLevels own = levels.get(t);
          float value = block.values(t)[i];
          double share = own.share(own.score(value, total, count));
          denominator[t] = share;
          numerator[t] = weights.get(t) * own.clamp(value) * share;
        }
        double by = Math.max(Inputs.sum(denominator, count), 1e-12);
        out[i] = (float) (lambda * Inputs.sum(numerator, count) / by);
      }
    }

    @Override
    public boolean wholeRows() {
      return false;
    }
  }

  @Override
  public TaskVector merge(List<TaskVector> vectors, List<Double> weights) {
    Inputs inputs = Inputs.of(vectors, weights);
    Block block = inputs.block();
    List<Share> shares = weights.stream().map(this::share).toList();
    double[][] findings = survey(new InMemorySurvey(block), shares);
    float[] merged = new float[inputs.size()];
    new Plan(Arrays.stream(findings).map(PcbLevels::of).toList(), weights, lambda)
        .merge(block, merged);
    return TaskVector.wrap(inputs.layout(), merged);
  }

  /** Vectors in memory, as one block. */
  private record InMemorySurvey(Block block) implements VectorSurvey {
    @Override
    public int vectors() {
      return block.vectors();
    }

    @Override
    public long size() {
      return block.length();
    }

    @Override
    public float[][] ofRank(Quantity quantity, long[][] ranks) {
      float[][] found = new float[ranks.length][];
      float[] values = new float[block.length()];
      for (int t = 0; t < found.length; t++) {
        quantity.of(block, t, values);
        Arrays.sort(values);
        found[t] = new float[ranks[t].length];
        for (int r = 0; r < found[t].length; r++) {
          found[t][r] = values[(int) ranks[t][r]];
        }
      }
      return found;
    }

    @Override
    public double[] evidenceNorms() {
      throw new IllegalStateException("there is no evidence");
    }
  }
}
