package org.sparkpeft.federated.aggregate;

import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.TaskVector;
import org.sparkpeft.merge.compress.TopKSelection;

/**
 * TIES as a round's aggregation (Yadav et al. 2023, arXiv 2306.01708): each update is trimmed to
 * its largest entries, the sign of each coordinate is elected by the weighted sum, and the result
 * is lambda times the weighted mean of the entries that agree. Signs and means both come from
 * weighted updates, weights counting only where an update kept the entry. One pass is enough:
 * positive and negative parts are summed apart. A coordinate whose parts cancel exactly counts as
 * positive.
 */
record TiesAggregator(Aggregator.Weighting weighting, double density, double lambda)
    implements Aggregator {
  private static final int POSITIVE = 0;
  private static final int NEGATIVE = 1;
  private static final int POSITIVE_SHARE = 2;
  private static final int NEGATIVE_SHARE = 3;

  @Override
  public Accumulator zero(ParameterLayout layout, Cohort cohort) {
    return new Votes(layout, cohort, new FixedPointSums(4, layout.size()));
  }

  @Override
  public Accumulator fromBytes(byte[] bytes, ParameterLayout layout, Cohort cohort) {
    return new Votes(layout, cohort, FixedPointSums.fromBytes(bytes, 4, layout.size()));
  }

  private final class Votes implements Accumulator {
    private final ParameterLayout layout;
    private final Cohort cohort;
    private final FixedPointSums sums;

    Votes(ParameterLayout layout, Cohort cohort, FixedPointSums sums) {
      this.layout = layout;
      this.cohort = cohort;
      this.sums = sums;
    }

    @Override
    public void add(TaskVector update, long numExamples) {
      FixedPoint.requireUsable(update);
      double share = weighting.share(numExamples, cohort);
      long fixedShare = FixedPoint.of(share);
      for (int i :
          TopKSelection.indices(
              update.toArray(),
              0,
              update.size(),
              TopKSelection.keptCount(density, update.size()))) {
        float value = update.get(i);
        boolean positive = value > 0;
        sums.column(positive ? POSITIVE : NEGATIVE)[i] += FixedPoint.of(value * share);
        sums.column(positive ? POSITIVE_SHARE : NEGATIVE_SHARE)[i] += fixedShare;
      }
      sums.countOne(share);
    }

    @Override
    public void merge(Accumulator other) {
      sums.merge(((Votes) other).sums);
    }

    @Override
    public int count() {
      return sums.count();
    }

    @Override
    public TaskVector result() {
      if (sums.count() == 0) {
        throw new IllegalStateException("no update was added");
      }
      float[] merged = new float[layout.size()];
      for (int i = 0; i < merged.length; i++) {
        boolean positive = sums.column(POSITIVE)[i] + sums.column(NEGATIVE)[i] >= 0;
        long share = sums.column(positive ? POSITIVE_SHARE : NEGATIVE_SHARE)[i];
        if (share > 0) {
          merged[i] = (float) (lambda * sums.column(positive ? POSITIVE : NEGATIVE)[i] / share);
        }
      }
      return TaskVector.wrap(layout, merged);
    }

    @Override
    public byte[] toBytes() {
      return sums.toBytes();
    }
  }
}
