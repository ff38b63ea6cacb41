package org.sparkpeft.merge.method;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.TaskVector;

/** Vectors for merge tests. */
final class Merged {
  /** The three vectors of the worked examples. */
  static final List<TaskVector> TAUS =
      List.of(
          vector(.5f, -.2f, .05f, 0, -.4f),
          vector(.3f, .6f, -.05f, .2f, .4f),
          vector(-.1f, .5f, .02f, -.3f, .1f));

  private Merged() {}

  static TaskVector vector(float... values) {
    return TaskVector.of(ParameterLayout.of(Map.of("t", List.of(values.length))), values);
  }

  static List<TaskVector> random(int count, long seed) {
    ParameterLayout layout =
        ParameterLayout.of(Map.of("a", List.of(7, 11), "b", List.of(53), "c", List.of(3, 5)));
    List<TaskVector> vectors = new ArrayList<>();
    for (int t = 0; t < count; t++) {
      vectors.add(
          TaskVector.wrap(layout, Philox.of(seed, "merge test", t).gaussian(layout.size(), 0.1)));
    }
    return vectors;
  }
}
