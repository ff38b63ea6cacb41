package org.sparkpeft.merge.compress;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.TaskVector;

/** Layouts and vectors for tests. */
final class Vectors {
  private Vectors() {}

  static ParameterLayout single(int size) {
    return ParameterLayout.of(Map.of("t", List.of(size)));
  }

  /** 24 LoRA tensors of 3,072 entries and a classifier head of 384 x {@code classes}. */
  static ParameterLayout adapter(int classes) {
    Map<String, List<Integer>> shapes = new LinkedHashMap<>();
    for (int layer = 0; layer < 6; layer++) {
      for (String module : List.of("query", "value")) {
        String at = "encoder.layer." + layer + ".attention.self." + module;
        shapes.put(at + ".lora_A.weight", List.of(8, 384));
        shapes.put(at + ".lora_B.weight", List.of(384, 8));
      }
    }
    shapes.put("classifier.weight", List.of(classes, 384));
    shapes.put("classifier.bias", List.of(classes));
    return ParameterLayout.of(shapes);
  }

  /** Gaussian, with a deviation of its own for each tensor, as updates have. */
  static TaskVector gaussian(ParameterLayout layout, long seed) {
    float[] values = new float[layout.size()];
    int tensor = 0;
    for (ParameterLayout.Entry entry : layout.entries()) {
      Philox random = Philox.of(seed, "test vector", tensor);
      double deviation = 1e-3 * Math.exp(0.5 * random.gaussianAt(1L << 40));
      for (int i = 0; i < entry.size(); i++) {
        values[entry.offset() + i] = (float) (deviation * random.gaussianAt(i));
      }
      tensor++;
    }
    return TaskVector.wrap(layout, values);
  }

  /** Each entry non-zero with probability {@code p}, then plus or minus uniform in [0.5, 1.5). */
  static float[] bernoulli(int size, double p, long seed) {
    Philox random = Philox.of(seed, "bernoulli");
    float[] values = new float[size];
    for (int i = 0; i < size; i++) {
      if (random.doubleAt(2L * i) < p) {
        double u = random.doubleAt(2L * i + 1);
        values[i] = (float) (u < 0.5 ? u + 0.5 : -u);
      }
    }
    return values;
  }
}
