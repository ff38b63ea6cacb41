package org.sparkpeft.core.peft;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.sparkpeft.core.model.ModuleSpec;

/**
 * One module that LoRA adapts.
 *
 * @param r rank
 * @param scale s
 */
record LoraSite(ModuleSpec module, int r, float scale) {

  boolean isEmbedding() {
    return module.kind() == ModuleSpec.Kind.EMBEDDING;
  }

  int in() {
    return module.in();
  }

  int out() {
    return module.out();
  }

  String path() {
    return module.path();
  }

  String nameA() {
    return path() + (isEmbedding() ? ".lora_embedding_A" : ".lora_A.weight");
  }

  String nameB() {
    return path() + (isEmbedding() ? ".lora_embedding_B" : ".lora_B.weight");
  }

  String nameBiasOfB() {
    return path() + ".lora_B.bias";
  }

  String nameMagnitude() {
    return path() + ".lora_magnitude_vector";
  }

  /** The base's bias as Hugging Face names it once the layer is adapted. */
  String nameBaseBias() {
    return path() + ".base_layer.bias";
  }

  /** In the state: the part of the weight that the adapter starts as, to be taken from the base. */
  String nameStartA() {
    return path() + ".start_A";
  }

  /** Its left factor, negated. */
  String nameStartB() {
    return path() + ".start_minus_B";
  }

  List<Integer> shapeA() {
    return List.of(r, in());
  }

  List<Integer> shapeB() {
    return List.of(out(), r);
  }

  /** Names and shapes of A and B. */
  Map<String, List<Integer>> factors() {
    Map<String, List<Integer>> shapes = new LinkedHashMap<>();
    shapes.put(nameA(), shapeA());
    shapes.put(nameB(), shapeB());
    return shapes;
  }

  /**
   * Adds {@code s b a} to a weight {@code [out, in]}, or its transpose to a table.
   *
   * @param a {@code [r, in]}
   * @param b {@code [out, r]}
   */
  void addProduct(float[] weight, float[] a, float[] b) {
    for (int o = 0; o < out(); o++) {
      for (int q = 0; q < r; q++) {
        float factor = scale * b[o * r + q];
        if (factor == 0) {
          continue;
        }
        for (int i = 0; i < in(); i++) {
          weight[isEmbedding() ? i * out() + o : o * in() + i] += factor * a[q * in() + i];
        }
      }
    }
  }

  /** The length of each output's row of a weight, or of each column of a table. */
  float[] norms(float[] weight) {
    double[] squares = new double[out()];
    for (int o = 0; o < out(); o++) {
      for (int i = 0; i < in(); i++) {
        double w = weight[isEmbedding() ? i * out() + o : o * in() + i];
        squares[o] += w * w;
      }
    }
    float[] norms = new float[out()];
    for (int o = 0; o < norms.length; o++) {
      norms[o] = (float) Math.sqrt(squares[o]);
    }
    return norms;
  }
}
