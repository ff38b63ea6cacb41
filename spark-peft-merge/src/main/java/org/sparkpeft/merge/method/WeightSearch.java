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
  /** Most combinations of a grid. */
  public static final int MAX_GRID = 10_000;

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

  /**
   * One number to be found.
   *
   * @param start where to begin, within the bounds
   * @param step how far the first tries lie from it, not 0; CMA-ES's standard deviation
   * @param low least value, -infinity for none
   * @param high greatest value, infinity for none
   */
  public record Axis(double start, double step, double low, double high) {
    public Axis {
      if (!Double.isFinite(start)
          || !Double.isFinite(step)
          || step == 0
          || !(low < high)
          || start < low
          || start > high) {
        throw new IllegalArgumentException(
            "needs a finite start within its bounds and a step other than 0, got start "
                + start
                + ", step "
                + step
                + ", bounds "
                + low
                + " and "
                + high);
      }
    }

    /** A number without bounds. */
    public static Axis free(double start, double step) {
      return new Axis(start, step, Double.NEGATIVE_INFINITY, Double.POSITIVE_INFINITY);
    }

    double within(double value) {
      return Math.max(low, Math.min(high, value));
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
   * Every combination of the given values, all scored at once; of equally good ones the first, the
   * last number changing fastest.
   *
   * @param values what to try for each number
   * @throws IllegalArgumentException if a number has no values, or there are more than {@link
   *     #MAX_GRID} combinations
   */
  public static Found grid(List<List<Double>> values, Scorer scorer) {
    long size = 1;
    for (List<Double> choices : values) {
      if (choices.isEmpty()) {
        throw new IllegalArgumentException("a grid needs at least one value for each number");
      }
      size = Math.min(MAX_GRID + 1L, size * choices.size());
    }
    if (size > MAX_GRID) {
      throw new IllegalArgumentException(
          "the grid has more than "
              + MAX_GRID
              + " combinations; give fewer values, or use nelder_mead or cma_es");
    }
    List<List<Double>> candidates = List.of(List.of());
    for (List<Double> choices : values) {
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
    return best(candidates, scores(scorer, candidates));
  }

  /** The first of the best. */
  static Found best(List<List<Double>> candidates, List<Double> scores) {
    int best = 0;
    for (int i = 1; i < scores.size(); i++) {
      best = scores.get(i) > scores.get(best) ? i : best;
    }
    return new Found(candidates.get(best), scores.get(best), scores.size());
  }

  static List<Double> scores(Scorer scorer, List<List<Double>> candidates) {
    List<Double> scores = scorer.scores(candidates);
    if (scores.size() != candidates.size()
        || scores.stream().anyMatch(score -> !Double.isFinite(score))) {
      throw new IllegalArgumentException(
          "a finite score is needed for each of " + candidates.size() + ", got " + scores);
    }
    return scores;
  }

  /**
   * CMA-ES (Hansen and Ostermeier, 2001), whole generations scored at once: of 4 + floor(3 ln n)
   * candidates, with the start before the first. Ends early where nothing is left to gain.
   *
   * @param evaluations most scores to compute; enough for the start and one generation
   * @param seed of its random numbers
   * @throws IllegalArgumentException if there are too few evaluations, no numbers, or a step is not
   *     above 0 and within its bounds
   */
  public static Found cmaEs(List<Axis> axes, int evaluations, long seed, Scorer scorer) {
    return new CmaEs(axes, evaluations, seed).run(scorer);
  }

  /** A corner of the simplex. */
  @SuppressWarnings("ArrayRecordComponent") // Stays inside, is never compared.
  private record Corner(double[] at, double score) {}

  /**
   * The simplex method of Nelder and Mead ("A simplex method for function minimization", 1965) with
   * its usual coefficients: reflect by 1, expand by 2, contract and shrink by 1/2.
   *
   * <p>What would leave the bounds stops at them. The first corners are scored at once, and those
   * of a shrink; the others one by one.
   *
   * @param evaluations most scores to compute; at least one more than there are numbers
   */
  public static Found simplex(List<Axis> axes, int evaluations, Scorer scorer) {
    int n = axes.size();
    if (n == 0 || evaluations <= n) {
      throw new IllegalArgumentException(
          "needs numbers and more than "
              + n
              + " evaluations, got "
              + n
              + " numbers and "
              + evaluations);
    }
    Counted counted = new Counted(axes, scorer);
    List<double[]> first = new ArrayList<>();
    for (int i = -1; i < n; i++) {
      double[] at = axes.stream().mapToDouble(Axis::start).toArray();
      if (i >= 0) {
        // Inwards where the bound is too near.
        Axis axis = axes.get(i);
        double there = axis.within(at[i] + axis.step());
        at[i] = there == at[i] ? at[i] - axis.step() : there;
      }
      first.add(at);
    }
    List<Corner> corners = new ArrayList<>(counted.corners(first));
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
        List<double[]> nearer =
            corners.subList(1, n + 1).stream().map(c -> between(best, c.at(), 0.5)).toList();
        List<Corner> shrunk = counted.corners(nearer);
        for (int c = 1; c <= n; c++) {
          corners.set(c, shrunk.get(c - 1));
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
    private final List<Axis> axes;
    private final Scorer scorer;
    private int count;

    Counted(List<Axis> axes, Scorer scorer) {
      this.axes = axes;
      this.scorer = scorer;
    }

    Corner corner(double[] at) {
      return corners(List.of(at)).get(0);
    }

    List<Corner> corners(List<double[]> places) {
      List<List<Double>> candidates = new ArrayList<>();
      for (double[] place : places) {
        for (int i = 0; i < place.length; i++) {
          place[i] = axes.get(i).within(place[i]);
        }
        candidates.add(Arrays.stream(place).boxed().toList());
      }
      List<Double> scores = scores(scorer, candidates);
      count += places.size();
      List<Corner> corners = new ArrayList<>();
      for (int i = 0; i < places.size(); i++) {
        corners.add(new Corner(places.get(i), scores.get(i)));
      }
      return corners;
    }
  }
}
