package org.sparkpeft.federated.aggregate;

import java.util.Arrays;
import java.util.BitSet;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.TaskVector;

/**
 * The mean of the updates that arrived, weighted by examples or alike: FedAvg (McMahan et al. 2017,
 * arXiv 1602.05629) and the server side of FedProx. Clients that sent nothing do not count: the
 * weights of the rest are renormalised, and so are, part by part, those of clients that did not
 * train a part (an expert, a task). A part nobody trained stays as it is.
 */
record WeightedMean(Aggregator.Weighting weighting) implements Aggregator {

  @Override
  public Accumulator zero(ParameterLayout layout, Cohort cohort) {
    return new Sum(
        layout,
        cohort,
        new FixedPointSums(1, layout.size()),
        new FixedPointSums(1, cohort.parts().count()));
  }

  @Override
  public Accumulator fromBytes(byte[] bytes, ParameterLayout layout, Cohort cohort) {
    long sums = FixedPointSums.bytes(1, layout.size());
    long absent = FixedPointSums.bytes(1, cohort.parts().count());
    if (bytes.length != sums + absent) {
      throw new FormatException(
          "partial sums", "expected " + (sums + absent) + " bytes, got " + bytes.length);
    }
    int border = Math.toIntExact(sums);
    return new Sum(
        layout,
        cohort,
        FixedPointSums.fromBytes(Arrays.copyOf(bytes, border), 1, layout.size()),
        FixedPointSums.fromBytes(
            Arrays.copyOfRange(bytes, border, bytes.length), 1, cohort.parts().count()));
  }

  private final class Sum implements Accumulator {
    private final ParameterLayout layout;
    private final Cohort cohort;
    private final FixedPointSums sums;

    /** Shares of the clients that did not train a part. */
    private final FixedPointSums absent;

    Sum(ParameterLayout layout, Cohort cohort, FixedPointSums sums, FixedPointSums absent) {
      this.layout = layout;
      this.cohort = cohort;
      this.sums = sums;
      this.absent = absent;
    }

    @Override
    public void add(TaskVector update, long numExamples) {
      add(update, numExamples, cohort.parts().all());
    }

    @Override
    public void add(TaskVector update, long numExamples, BitSet trained) {
      FixedPoint.requireUsable(update);
      double share = weighting.share(numExamples, cohort);
      long fixedShare = FixedPoint.of(share);
      Stretches parts = cohort.parts();
      long[] column = sums.column(0);
      int from = 0;
      for (int part = 0; part < parts.count(); part++) {
        if (!trained.get(part)) {
          absent.column(0)[part] += fixedShare;
          add(column, update, share, from, parts.from(part));
          from = parts.to(part);
        }
      }
      add(column, update, share, from, column.length);
      sums.countOne(share);
    }

    private static void add(long[] column, TaskVector update, double share, int from, int to) {
      for (int i = from; i < to; i++) {
        column[i] += FixedPoint.of(update.get(i) * share);
      }
    }

    @Override
    public void merge(Accumulator other) {
      sums.merge(((Sum) other).sums);
      absent.merge(((Sum) other).absent);
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
      Stretches parts = cohort.parts();
      for (int part = 0; part < parts.count(); part++) {
        long fixedShare = sums.fixedShare() - absent.column(0)[part];
        double share = FixedPoint.toDouble(fixedShare);
        for (int i = parts.from(part); i < parts.to(part); i++) {
          mean[i] = fixedShare > 0 ? (float) (FixedPoint.toDouble(column[i]) / share) : 0;
        }
      }
      return TaskVector.wrap(layout, mean);
    }

    @Override
    public byte[] toBytes() {
      byte[] first = sums.toBytes();
      byte[] second = absent.toBytes();
      byte[] both = Arrays.copyOf(first, Math.addExact(first.length, second.length));
      System.arraycopy(second, 0, both, first.length, second.length);
      return both;
    }
  }
}
