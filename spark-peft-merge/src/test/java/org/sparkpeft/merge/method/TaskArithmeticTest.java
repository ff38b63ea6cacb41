package org.sparkpeft.merge.method;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;
import static org.sparkpeft.merge.method.Merged.vector;

import java.util.List;
import org.junit.jupiter.api.Test;
import org.sparkpeft.core.vector.TaskVector;

class TaskArithmeticTest {
  private final List<TaskVector> vectors = List.of(vector(1, -2, 0.5f), vector(3, 4, -1));

  @Test
  void sumsAndScales() {
    assertThat(new TaskArithmetic(0.3).merge(vectors).toArray())
        .containsExactly(new float[] {1.2f, .6f, -.15f}, within(1e-6f));
    assertThat(new TaskArithmetic(0.5).merge(vectors, List.of(2.0, -1.0)).toArray())
        .containsExactly(-.5f, -4, 1);
  }

  @Test
  void negationForgets() {
    assertThat(new TaskArithmetic(0.5).negate(vectors.get(0)).toArray())
        .containsExactly(-.5f, 1, -.25f);
  }

  @Test
  void averageDividesByTheWeights() {
    assertThat(new Average().merge(vectors, List.of(3.0, 1.0)).toArray())
        .containsExactly(1.5f, -.5f, .125f);
    assertThat(new Average().merge(vectors, List.of(1.0, -1.0)).toArray())
        .as("weights that cancel")
        .containsExactly(-2, -6, 1.5f);
  }

  @Test
  void argumentsAreChecked() {
    Average average = new Average();
    assertThatThrownBy(() -> average.merge(List.of(), List.of()))
        .hasMessageContaining("at least one");
    assertThatThrownBy(() -> average.merge(vectors, List.of(1.0)))
        .hasMessageContaining("2 vectors and 1 weights");
    assertThatThrownBy(() -> average.merge(List.of(vectors.get(0), vector(1, 2))))
        .hasMessageContaining("vector 1 has");
    assertThatThrownBy(() -> average.merge(List.of(vector(Float.NaN))))
        .hasMessageContaining("not finite: entry 0 of t");
    assertThatThrownBy(() -> average.merge(vectors, List.of(1.0, Double.NaN)))
        .hasMessageContaining("must be finite");
  }
}
