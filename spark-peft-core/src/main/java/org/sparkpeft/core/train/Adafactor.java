package org.sparkpeft.core.train;

import java.util.ArrayList;
import java.util.List;
import org.sparkpeft.core.vector.ParameterLayout;

/**
 * Adafactor (Shazeer and Stern 2018, arXiv 1804.04235) without momentum and with the rate that is
 * given (neither relative steps nor scaling by the parameters): second moments of a matrix are kept
 * as means of its rows R and columns C.
 *
 * <pre>
 * beta = min(beta2, 1 - t^-0.8)
 * R = beta R + (1 - beta) mean over columns (g^2 + 1e-30)      C likewise over rows
 * u = g / sqrt(R C / mean(R))        u = u / max(1, RMS(u))        p -= rate (u + decay p)
 * </pre>
 *
 * <p>Vectors keep a moment for each entry. There is no memory of single entries of a matrix, so
 * that {@link #restart} changes nothing.
 */
final class Adafactor implements Optimizer {
  private static final double EPSILON = 1e-30;
  private static final double DECAY_RATE = -0.8;

  private final List<TensorMatrix> tensors = new ArrayList<>();
  private final List<double[]> rows = new ArrayList<>();
  private final List<double[]> columns = new ArrayList<>();
  private final double beta2;
  private final double weightDecay;
  private final List<TensorRates.Stretch> rates;
  private final float[] update;
  private int steps;

  Adafactor(
      ParameterLayout layout, double beta2, double weightDecay, List<TensorRates.Stretch> rates) {
    this.beta2 = beta2;
    this.weightDecay = weightDecay;
    this.rates = rates;
    int largest = 0;
    for (ParameterLayout.Entry entry : layout.entries()) {
      TensorMatrix tensor = TensorMatrix.of(entry);
      largest = Math.max(largest, tensor.size());
      tensors.add(tensor);
      rows.add(new double[tensor.isMatrix() ? tensor.rows() : tensor.size()]);
      columns.add(new double[tensor.isMatrix() ? tensor.columns() : 0]);
    }
    this.update = new float[largest];
  }

  @Override
  public void step(float[] parameters, float[] gradient, double rate) {
    steps++;
    double beta = Math.min(beta2, 1 - Math.pow(steps, DECAY_RATE));
    for (int t = 0; t < rates.size(); t++) {
      TensorRates.Stretch stretch = rates.get(t);
      TensorMatrix tensor = tensors.get(t);
      double own = rate * stretch.rate();
      float keep = (float) (1 - own * (stretch.decayed() ? weightDecay : 0));
      double squares =
          tensor.isMatrix()
              ? matrix(tensor, rows.get(t), columns.get(t), gradient, beta)
              : vector(tensor, rows.get(t), gradient, beta);
      int n = tensor.size();
      float factor = (float) (own / Math.max(1, Math.sqrt(squares / Math.max(1, n))));
      for (int i = 0; i < n; i++) {
        int at = tensor.from() + i;
        parameters[at] = keep * parameters[at] - factor * update[i];
      }
    }
  }

  /** Fills the update; returns its sum of squares. */
  private double matrix(
      TensorMatrix tensor, double[] row, double[] column, float[] gradient, double beta) {
    int m = row.length;
    int n = column.length;
    double[] columnSums = new double[n];
    for (int i = 0; i < m; i++) {
      double sum = 0;
      int at = tensor.from() + i * n;
      for (int j = 0; j < n; j++) {
        double square = (double) gradient[at + j] * gradient[at + j] + EPSILON;
        sum += square;
        columnSums[j] += square;
      }
      row[i] = beta * row[i] + (1 - beta) * sum / n;
    }
    double mean = 0;
    for (double value : row) {
      mean += value / m;
    }
    double[] scale = new double[n];
    for (int j = 0; j < n; j++) {
      column[j] = beta * column[j] + (1 - beta) * columnSums[j] / m;
      scale[j] = 1 / Math.sqrt(column[j]);
    }
    double squares = 0;
    for (int i = 0; i < m; i++) {
      double rowScale = 1 / Math.sqrt(row[i] / mean);
      for (int j = 0; j < n; j++) {
        double u = gradient[tensor.from() + i * n + j] * rowScale * scale[j];
        update[i * n + j] = (float) u;
        squares += u * u;
      }
    }
    return squares;
  }

  private double vector(TensorMatrix tensor, double[] moments, float[] gradient, double beta) {
    double squares = 0;
    for (int i = 0; i < moments.length; i++) {
      double g = gradient[tensor.from() + i];
      moments[i] = beta * moments[i] + (1 - beta) * (g * g + EPSILON);
      double u = g / Math.sqrt(moments[i]);
      update[i] = (float) u;
      squares += u * u;
    }
    return squares;
  }

  @Override
  public void restart(int index, double first, double second, int age) {}
}
