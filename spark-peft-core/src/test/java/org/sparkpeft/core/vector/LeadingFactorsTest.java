package org.sparkpeft.core.vector;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.Random;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class LeadingFactorsTest {
  private static float[] random(int rows, int columns, long seed) {
    Random random = new Random(seed);
    float[] w = new float[rows * columns];
    for (int i = 0; i < w.length; i++) {
      w[i] = (float) random.nextGaussian();
    }
    return w;
  }

  private static double[] values(LeadingFactors factors, int k) {
    double[] values = new double[k];
    for (int i = 0; i < k; i++) {
      values[i] = factors.value(i);
    }
    return values;
  }

  private static double[] ones(int k) {
    double[] ones = new double[k];
    java.util.Arrays.fill(ones, 1);
    return ones;
  }

  /** {@code a [rows, k] b [k, columns]}. */
  private static float[] product(float[] a, float[] b, int rows, int k, int columns) {
    float[] c = new float[rows * columns];
    for (int i = 0; i < rows; i++) {
      for (int q = 0; q < k; q++) {
        for (int j = 0; j < columns; j++) {
          c[i * columns + j] += a[i * k + q] * b[q * columns + j];
        }
      }
    }
    return c;
  }

  @ParameterizedTest
  @CsvSource({"1,1", "2,1", "1,3", "2,2", "7,7", "9,4", "4,9", "40,33"})
  void allSingularValuesGiveTheMatrixBack(int rows, int columns) {
    float[] w = random(rows, columns, rows * 100L + columns);
    int k = Math.min(rows, columns);
    LeadingFactors svd = LeadingFactors.svd(w, rows, columns, k);
    float[] back = product(svd.left(values(svd, k)), svd.right(ones(k)), rows, k, columns);
    assertThat(back).containsExactly(w, Offset.offset(1e-5f));
    for (int i = 1; i < k; i++) {
      assertThat(svd.value(i)).isBetween(0.0, svd.value(i - 1));
    }
    float[] left = svd.left(ones(k));
    for (int a = 0; a < k; a++) {
      for (int b = 0; b < k; b++) {
        double sum = 0;
        for (int i = 0; i < rows; i++) {
          sum += (double) left[i * k + a] * left[i * k + b];
        }
        assertThat(sum).isCloseTo(a == b ? 1 : 0, Offset.offset(1e-6));
      }
    }
  }

  @Test
  void equalSingularValuesAreAllFound() {
    float[] w = {4, 0, 0, 0, 1, 0, 0, 0, -4};
    LeadingFactors svd = LeadingFactors.svd(w, 3, 3, 2);
    assertThat(svd.value(0)).isCloseTo(4, Offset.offset(1e-12));
    assertThat(svd.value(1)).isCloseTo(4, Offset.offset(1e-12));
    float[] back = product(svd.left(4, 4), svd.right(1, 1), 3, 2, 3);
    assertThat(back)
        .containsExactly(new float[] {4, 0, 0, 0, 0, 0, 0, 0, -4}, Offset.offset(1e-6f));
  }

  @Test
  void aMatrixOfLowRankHasZeroesBehind() {
    float[] w = product(random(6, 1, 1), random(1, 5, 2), 6, 1, 5);
    LeadingFactors svd = LeadingFactors.svd(w, 6, 5, 3);
    assertThat(svd.value(0)).isGreaterThan(1);
    assertThat(svd.value(1)).isLessThan(1e-5);
    assertThat(LeadingFactors.svd(new float[6], 2, 3, 2).value(0)).isZero();
  }

  @Test
  void manyIterationsReachTheLargestValues() {
    float[] w = random(30, 20, 5);
    double[][] start = new double[6][20];
    Random random = new Random(6);
    for (double[] vector : start) {
      java.util.Arrays.setAll(vector, i -> random.nextGaussian());
    }
    LeadingFactors exact = LeadingFactors.svd(w, 30, 20, 6);
    LeadingFactors few = LeadingFactors.svdThrough(w, 30, 20, start, 0);
    LeadingFactors many = LeadingFactors.svdThrough(w, 30, 20, start, 60);
    assertThat(few.value(0)).isLessThan(0.99 * exact.value(0));
    for (int i = 0; i < 5; i++) {
      assertThat(many.value(i)).isCloseTo(exact.value(i), Offset.offset(1e-3));
    }
    assertThat(many.left(1, 1, 1, 0, 0, 0))
        .containsExactly(exact.left(1, 1, 1, 0, 0, 0), Offset.offset(1e-3f));
  }

  @Test
  void firstColumnsOfQr() {
    float[] w = {0, 2, 3, 4, 5, 6};
    LeadingFactors qr = LeadingFactors.qr(w, 2, 3, 2);
    assertThat(qr.left(1, 1)).containsExactly(new float[] {0, 1, 1, 0}, Offset.offset(1e-6f));
    assertThat(qr.right(1, 1))
        .containsExactly(new float[] {4, 5, 6, 0, 2, 3}, Offset.offset(1e-6f));
    LeadingFactors dependent = LeadingFactors.qr(new float[] {1, 2, 0, 0}, 2, 2, 2);
    assertThat(dependent.left(1, 1)).containsExactly(1, 0, 0, 1);
    assertThat(dependent.right(1, 1)).containsExactly(1, 2, 0, 0);
  }

  @Test
  void refusesRanksThatTheMatrixDoesNotHave() {
    assertThatThrownBy(() -> LeadingFactors.svd(new float[6], 2, 3, 3))
        .hasMessageContaining("rank 3 of a matrix of 2 x 3");
    assertThatThrownBy(() -> LeadingFactors.svd(new float[] {Float.NaN}, 1, 1, 1))
        .hasMessageContaining("NaN");
  }
}
