package org.sparkpeft.merge.recipe;

import org.sparkpeft.merge.method.Average;
import org.sparkpeft.merge.method.BlockwiseMethod;
import org.sparkpeft.merge.method.Breadcrumbs;
import org.sparkpeft.merge.method.Combination;
import org.sparkpeft.merge.method.Consensus;
import org.sparkpeft.merge.method.Dare;
import org.sparkpeft.merge.method.Della;
import org.sparkpeft.merge.method.FisherBlocks;
import org.sparkpeft.merge.method.FisherMerging;
import org.sparkpeft.merge.method.ModelStock;
import org.sparkpeft.merge.method.MultiSlerp;
import org.sparkpeft.merge.method.PcbMerging;
import org.sparkpeft.merge.method.RegMeanLayer;
import org.sparkpeft.merge.method.Rescale;
import org.sparkpeft.merge.method.Slerp;
import org.sparkpeft.merge.method.TaskArithmetic;
import org.sparkpeft.merge.method.Ties;

/** The method that a recipe's kind and switches stand for. */
final class MethodOfKind {
  private MethodOfKind() {}

  /** Whether signs are elected. */
  static Combination combination(MergeKind kind) {
    return switch (kind) {
      case TIES, DARE_TIES, DELLA, BREADCRUMBS_TIES -> Combination.TIES;
      default -> Combination.LINEAR;
    };
  }

  static BlockwiseMethod method(
      MergeKind kind, TensorSettings settings, MergeRecipe.Options options) {
    double lambda = settings.value("lambda");
    Combination combination = combination(kind);
    boolean normalize = settings.on("normalize");
    if (combination == Combination.TIES && !normalize) {
      combination = Combination.TIES_SUM;
    }
    long seed = options.seed();
    Rescale rescale = options.rescale().equals("l1") ? Rescale.L1 : Rescale.PROBABILITY;
    if (!settings.on("rescale")) {
      rescale = Rescale.NONE;
    }
    return switch (kind) {
      case LINEAR -> normalize ? new Average() : new TaskArithmetic(1);
      case EMA -> new TaskArithmetic(1);
      case TASK_ARITHMETIC -> new TaskArithmetic(lambda);
      case TIES ->
          new Ties(
              1,
              options.trim().equals("tensor"),
              lambda,
              normalize ? Ties.Convention.MERGEKIT : Ties.Convention.SUM);
      case DARE_LINEAR, DARE_TIES -> new Dare(1, lambda, combination, rescale, seed);
      case DELLA, DELLA_LINEAR -> new Della(0.5, 0, lambda, combination, rescale, seed);
      case BREADCRUMBS, BREADCRUMBS_TIES -> new Breadcrumbs(1, 0, lambda, combination);
      case PCB -> new PcbMerging(kind.absent("density", false), lambda, true);
      case FISHER -> new FisherBlocks(normalize, FisherMerging.defaults().floor());
      case REGMEAN -> new RegMeanLayer(settings.value("alpha"));
      case SLERP -> new Slerp(0.5);
      case MULTI_SLERP -> new MultiSlerp();
      case MODEL_STOCK -> new ModelStock();
      case CONSENSUS -> new Consensus(lambda, settings.value("threshold"));
      case PASSTHROUGH -> throw new IllegalStateException("a passthrough is copied");
    };
  }
}
