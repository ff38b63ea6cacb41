package org.sparkpeft.merge.compress;

import java.util.List;
import java.util.function.ToDoubleFunction;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.TaskVector;

/**
 * ComPEFT as published (Yadav et al., "ComPEFT: Compression for Communicating Parameter Efficient
 * Updates via Sparsification and Quantization", 2023): keep the largest share of the whole vector,
 * replace it by its signs times alpha * sigma, sigma being the sample standard deviation of all
 * entries before pruning; density and alpha are chosen by a score on validation data.
 *
 * <p>Where the released code keeps one entry more than asked and all that tie with it, this keeps
 * exactly the floor. A density of 1 leaves the vector as it is, as there.
 */
public final class ComPeft {
  /** Densities usually tried. */
  public static final List<Double> DENSITIES = List.of(0.05, 0.1, 0.2, 0.3, 0.5);

  /** Values of alpha usually tried. */
  public static final List<Double> ALPHAS = List.of(0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0);

  private ComPeft() {}

  /**
   * A compressed vector and how it came about.
   *
   * @param density fraction kept
   * @param alpha factor on the standard deviation
   * @param score what the score function said
   * @param vector the ternary vector
   */
  public record Choice(double density, double alpha, double score, TaskVector vector) {}

  /** The ternary vector for one density and alpha. */
  public static TaskVector compress(TaskVector vector, double density, double alpha) {
    if (density == 1) {
      return vector;
    }
    float[] values = vector.toArray();
    NonFiniteUpdateException.requireFinite(values);
    double magnitude = alpha * Ternary.sampleDeviation(values);
    return ternary(vector, values, density, Ternary.representable(magnitude));
  }

  /**
   * The same without validation data: the magnitude is the mean of those kept, which minimises the
   * squared error.
   */
  public static TaskVector compressDataFree(TaskVector vector, double density) {
    float[] values = vector.toArray();
    float[] kept = keep(vector, values, density).values();
    double magnitude = Ternary.meanMagnitude(kept, 0, kept.length);
    return ternary(vector, values, density, Ternary.representable(magnitude));
  }

  private static Sparse keep(TaskVector vector, float[] values, double density) {
    Philox unused = Philox.of(0, "top-k draws nothing");
    return new TopK(density, false).sparsify(values, vector.layout(), unused);
  }

  private static TaskVector ternary(
      TaskVector vector, float[] values, double density, float magnitude) {
    Sparse kept = keep(vector, values, density);
    for (int i = 0; i < kept.count(); i++) {
      kept.values()[i] = Math.copySign(magnitude, kept.value(i));
    }
    return TaskVector.wrap(vector.layout(), kept.toDense(values.length));
  }

  /**
   * The highest score over a grid; of equal ones the first, densities in the outer loop.
   *
   * @param score how good a compressed vector is, for example accuracy on validation data
   */
  public static Choice search(
      TaskVector vector,
      List<Double> densities,
      List<Double> alphas,
      ToDoubleFunction<TaskVector> score) {
    if (densities.isEmpty() || alphas.isEmpty()) {
      throw new IllegalArgumentException("a grid needs at least one density and one alpha");
    }
    Choice best = choice(vector, densities.get(0), alphas.get(0), score);
    for (double density : densities) {
      for (double alpha : alphas) {
        if (density != best.density() || alpha != best.alpha()) {
          Choice other = choice(vector, density, alpha, score);
          best = other.score() > best.score() ? other : best;
        }
      }
    }
    return best;
  }

  private static Choice choice(
      TaskVector vector, double density, double alpha, ToDoubleFunction<TaskVector> score) {
    TaskVector compressed = compress(vector, density, alpha);
    return new Choice(density, alpha, score.applyAsDouble(compressed), compressed);
  }
}
