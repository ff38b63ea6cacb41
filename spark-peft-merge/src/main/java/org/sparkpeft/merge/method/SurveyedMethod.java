package org.sparkpeft.merge.method;

import java.util.List;

/** A method that must know something of the whole vectors before it can plan a tensor. */
public interface SurveyedMethod extends BlockwiseMethod {
  /** Learns from all tensors; what it returns has one row for each vector. */
  double[][] survey(VectorSurvey vectors, List<Share> shares);

  /** The method for tensors, with what {@link #survey} found. */
  BlockwiseMethod informed(double[][] findings);

  @Override
  default TensorPlan plan(TensorScan tensor, List<Share> shares, List<KeepRule> trims) {
    throw new IllegalStateException("the vectors were not surveyed");
  }
}
