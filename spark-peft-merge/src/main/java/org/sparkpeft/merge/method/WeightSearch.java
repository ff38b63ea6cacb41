package org.sparkpeft.merge.method;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.function.ToDoubleFunction;

/**
 * Finds merge weights, or any few numbers, by what a validation score says of them. Deterministic;
 * the score is to be as high as possible and must be finite.
 */
public final class WeightSearch {
  private WeightSearch() {}

  /**
   * What was found.
   *
   * @param weights the best numbers
   * @param score theirs
   * @param evaluations how often the score was computed
   */
  public record Found(List<Double> weights, double score, int evaluations) {
    public Found {
      weights = List.copyOf(weights);
    }
  }

  /** Scores several candidates at once, for example as tasks of a Spark job; results in order. */
  @FunctionalInterface
  public interface Scorer {
    List<Double> scores(List<List<Double>> candidates);

    /** One after the other. */
    static Scorer of(ToDoubleFunction<List<Double>> score) {
      return candidates -> candidates.stream().map(score::applyAsDouble).toList();
    }
  }

  /**
   * Every combination of the given values; of equally good ones the first, the last number changing
   * fastest.
   *
   * @param values what to try for each number
   */
  public static Found grid(List<List<Double>> values, Scorer scorer) {
    List<List<Double>> candidates = List.of(List.of());
    for (List<Double> choices : values) {
      if (choices.isEmpty()) {
        throw new IllegalArgumentException("a grid needs at least one value for each number");
      }
      List<List<Double>> longer = new ArrayList<>();
      for (List<Double> candidate : candidates) {
        for (double choice : choices) {
          List<Double> next = new ArrayList<>(candidate);
          next.add(choice);
          longer.add(next);
        }
      }
      candidates = longer;
    }
    List<Double> scores = scores(scorer, candidates);
    int best = 0;
    for (int i = 1; i < scores.size(); i++) {
      best = scores.get(i) > scores.get(best) ? i : best;
    }
    return new Found(candidates.get(best), scores.get(best), scores.size());
  }

  private static List<Double> scores(Scorer scorer, List<List<Double>> candidates) {
    List<Double> scores = scorer.scores(candidates);
    if (scores.size() != candidates.size()
        || scores.stream().anyMatch(score -> !Double.isFinite(score))) {
      throw new IllegalArgumentException(
          "a finite score is needed for each of " + candidates.size() + ", got " + scores);
    }
    return scores;
  }

  /** A corner of the simplex. */
  @SuppressWarnings("ArrayRecordComponent") // Stays inside, is never compared.
  private record Corner(double[] at, double score) {}

  /**
   * The simplex method of Nelder and Mead ("A simplex method for function minimization", 1965) with
   * its usual coefficients: reflect by 1, expand by 2, contract and shrink by 1/2.
   *
   * @param start where to begin
   * @param step how far the first corners lie from it, along each number
   * @param evaluations most scores to compute; at least one more than there are numbers
   */
  public static Found simplex(
      List<Double> start, double step, int evaluations, ToDoubleFunction<List<Double>> score) {
    int n = start.size();
    if (n == 0 || step == 0 || evaluations <= n) {
      throw new IllegalArgumentException(
          "needs numbers, a step and more than "
              + n
              + " evaluations, got "
              + start
              + ", "
              + step
              + " and "
              + evaluations);
    }
    Counted counted = new Counted(score);
    List<Corner> corners = new ArrayList<>();
    for (int i = -1; i < n; i++) {
      double[] at = start.stream().mapToDouble(Double::doubleValue).toArray();
      if (i >= 0) {
        at[i] += step;
      }
      corners.add(counted.corner(at));
    }
    Comparator<Corner> bestFirst = Comparator.comparingDouble(corner -> -corner.score());
    corners.sort(bestFirst);
    // A round takes two scores, or with a shrinking n + 2.
    while (counted.count + n + 2 <= evaluations) {
      improve(corners, counted);
      corners.sort(bestFirst);
    }
    Corner best = corners.get(0);
    return new Found(Arrays.stream(best.at()).boxed().toList(), best.score(), counted.count);
  }

  private static void improve(List<Corner> corners, Counted counted) {
    int n = corners.size() - 1;
    Corner worst = corners.get(n);
    double[] centre = new double[n];
    for (Corner corner : corners.subList(0, n)) {
      for (int i = 0; i < n; i++) {
        centre[i] += corner.at()[i] / n;
      }
    }
    Corner reflected = counted.corner(between(centre, worst.at(), -1));
    if (reflected.score() > corners.get(0).score()) {
      Corner expanded = counted.corner(between(centre, worst.at(), -2));
      corners.set(n, expanded.score() > reflected.score() ? expanded : reflected);
    } else if (reflected.score() > corners.get(n - 1).score()) {
      corners.set(n, reflected);
    } else {
      boolean outside = reflected.score() > worst.score();
      Corner contracted = counted.corner(between(centre, worst.at(), outside ? -0.5 : 0.5));
      if (contracted.score() > (outside ? reflected : worst).score()) {
        corners.set(n, contracted);
      } else {
        double[] best = corners.get(0).at();
        for (int c = 1; c <= n; c++) {
          corners.set(c, counted.corner(between(best, corners.get(c).at(), 0.5)));
        }
      }
    }
  }

  /** from + share * (to - from). */
  private static double[] between(double[] from, double[] to, double share) {
    double[] at = new double[from.length];
    for (int i = 0; i < at.length; i++) {
      at[i] = from[i] + share * (to[i] - from[i]);
    }
    return at;
  }

  /** The score, and how often it was asked for. */
  private static final class Counted {
    private final ToDoubleFunction<List<Double>> score;
    private int count;

    Counted(ToDoubleFunction<List<Double>> score) {
      this.score = score;
    }

    Corner corner(double[] at) {
      count++;
      List<List<Double>> candidate = List.of(Arrays.stream(at).boxed().toList());
      return new Corner(at, scores(Scorer.of(score), candidate).get(0));
    }
  }
}
