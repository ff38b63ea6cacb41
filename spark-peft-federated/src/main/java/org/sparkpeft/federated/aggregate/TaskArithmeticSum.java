package org.sparkpeft.federated.aggregate;

import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.TaskVector;

/**
 * Task arithmetic: lambda times the plain sum of the updates (Ilharco et al. 2023, arXiv
 * 2212.04089). A sum, not a mean: with many clients lambda has to be small.
 */
record TaskArithmeticSum(double lambda) implements Aggregator {
  private static final WeightedMean MEAN = new WeightedMean(Weighting.UNIFORM);

  @Override
  public Accumulator zero(ParameterLayout layout, Cohort cohort) {
    return new Sum(MEAN.zero(layout, cohort));
  }

  @Override
  public Accumulator fromBytes(byte[] bytes, ParameterLayout layout, Cohort cohort) {
    return new Sum(MEAN.fromBytes(bytes, layout, cohort));
  }

  private final class Sum implements Accumulator {
    private final Accumulator mean;

    Sum(Accumulator mean) {
      this.mean = mean;
    }

    @Override
    public void add(TaskVector update, long numExamples) {
      mean.add(update, numExamples);
    }

    @Override
    public void merge(Accumulator other) {
      mean.merge(((Sum) other).mean);
    }

    @Override
    public int count() {
      return mean.count();
    }

    @Override
    public TaskVector result() {
      return mean.result().times((float) (lambda * mean.count()));
    }

    @Override
    public byte[] toBytes() {
      return mean.toBytes();
    }
  }
}
