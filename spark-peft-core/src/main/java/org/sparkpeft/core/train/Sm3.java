package org.sparkpeft.core.train;

import java.util.ArrayList;
import java.util.List;
import org.sparkpeft.core.vector.ParameterLayout;

/**
 * SM3 (Anil et al. 2019, arXiv 1901.11150), variant II: Adagrad that keeps one sum for each row and
 * one for each column. An entry's sum of squared gradients is bounded by the smaller of both:
 *
 * <pre>
 * v = min(row, column) + g^2      p -= rate g / sqrt(v)
 * row = max of v over the row     column = max of v over the column
 * </pre>
 *
 * <p>Vectors keep a sum for each entry. Decay is decoupled. There is no memory of single entries,
 * so that {@link #restart} changes nothing.
 */
final class Sm3 implements Optimizer {
  private static final float EPSILON = 1e-30f;

  private final List<TensorMatrix> tensors = new ArrayList<>();
  private final List<float[]> rows = new ArrayList<>();
  private final List<float[]> columns = new ArrayList<>();
  private final double weightDecay;
  private final List<TensorRates.Stretch> rates;

  Sm3(ParameterLayout layout, double weightDecay, List<TensorRates.Stretch> rates) {
    this.weightDecay = weightDecay;
    this.rates = rates;
    for (ParameterLayout.Entry entry : layout.entries()) {
      TensorMatrix tensor = TensorMatrix.of(entry);
      tensors.add(tensor);
      rows.add(new float[tensor.isMatrix() ? tensor.rows() : tensor.size()]);
      columns.add(new float[tensor.isMatrix() ? tensor.columns() : 0]);
    }
  }

  @Override
  public void step(float[] parameters, float[] gradient, double rate) {
    for (int t = 0; t < rates.size(); t++) {
      TensorRates.Stretch stretch = rates.get(t);
      double own = rate * stretch.rate();
      float keep = (float) (1 - own * (stretch.decayed() ? weightDecay : 0));
      if (tensors.get(t).isMatrix()) {
        matrix(tensors.get(t), rows.get(t), columns.get(t), parameters, gradient, own, keep);
      } else {
        vector(tensors.get(t), rows.get(t), parameters, gradient, own, keep);
      }
    }
  }

  private static void matrix(
      TensorMatrix tensor,
      float[] row,
      float[] column,
      float[] parameters,
      float[] gradient,
      double rate,
      float keep) {
    float[] newColumn = new float[column.length];
    int at = tensor.from();
    for (int i = 0; i < row.length; i++) {
      float bound = row[i];
      float most = 0;
      for (int j = 0; j < column.length; j++, at++) {
        float g = gradient[at];
        float v = Math.min(bound, column[j]) + g * g;
        parameters[at] = keep * parameters[at] - (float) (rate * g / Math.sqrt(v + EPSILON));
        most = Math.max(most, v);
        newColumn[j] = Math.max(newColumn[j], v);
      }
      row[i] = most;
    }
    System.arraycopy(newColumn, 0, column, 0, column.length);
  }

  private static void vector(
      TensorMatrix tensor,
      float[] sums,
      float[] parameters,
      float[] gradient,
      double rate,
      float keep) {
    for (int i = 0; i < sums.length; i++) {
      int at = tensor.from() + i;
      float g = gradient[at];
      sums[i] += g * g;
      parameters[at] = keep * parameters[at] - (float) (rate * g / Math.sqrt(sums[i] + EPSILON));
    }
  }

  /** The bound on an entry's sum of squared gradients. */
  float bound(int tensor, int row, int column) {
    return tensors.get(tensor).isMatrix()
        ? Math.min(rows.get(tensor)[row], columns.get(tensor)[column])
        : rows.get(tensor)[row * tensors.get(tensor).columns() + column];
  }

  @Override
  public void restart(int index, double first, double second, int age) {}
}
