package org.sparkpeft.federated.aggregate;

import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.TaskVector;

/**
 * The mean of the updates that arrived, weighted by examples or alike: FedAvg (McMahan et al. 2017,
 * arXiv 1602.05629) and the server side of FedProx. Clients that sent nothing do not count: the
 * weights of the rest are renormalised.
 */
record WeightedMean(Aggregator.Weighting weighting) implements Aggregator {

  @Override
  public Accumulator zero(ParameterLayout layout, Cohort cohort) {
    return new Sum(layout, cohort, new FixedPointSums(1, layout.size()));
  }

  @Override
  public Accumulator fromBytes(byte[] bytes, ParameterLayout layout, Cohort cohort) {
    return new Sum(layout, cohort, FixedPointSums.fromBytes(bytes, 1, layout.size()));
  }

  private final class Sum implements Accumulator {
    private final ParameterLayout layout;
    private final Cohort cohort;
    private final FixedPointSums sums;

    Sum(ParameterLayout layout, Cohort cohort, FixedPointSums sums) {
      this.layout = layout;
      this.cohort = cohort;
      this.sums = sums;
    }

    @Override
    public void add(TaskVector update, long numExamples) {
      FixedPoint.requireUsable(update);
      double share = weighting.share(numExamples, cohort);
      long[] column = sums.column(0);
      for (int i = 0; i < column.length; i++) {
        column[i] += FixedPoint.of(update.get(i) * share);
      }
      sums.countOne(share);
    }

    @Override
    public void merge(Accumulator other) {
      sums.merge(((Sum) other).sums);
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
      long[] column = sums.column(0);
      float[] mean = new float[column.length];
      for (int i = 0; i < mean.length; i++) {
        mean[i] = (float) (FixedPoint.toDouble(column[i]) / sums.share());
      }
      return TaskVector.wrap(layout, mean);
    }

    @Override
    public byte[] toBytes() {
      return sums.toBytes();
    }
  }
}
