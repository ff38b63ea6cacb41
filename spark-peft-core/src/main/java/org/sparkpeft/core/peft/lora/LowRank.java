package org.sparkpeft.core.peft.lora;

import ai.djl.ndarray.NDArray;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.SortedMap;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.peft.AdapterTensors;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.BaseWeights;
import org.sparkpeft.core.peft.Dropout;
import org.sparkpeft.core.peft.LoraConfig;
import org.sparkpeft.core.peft.TargetModules;
import org.sparkpeft.core.peft.TargetSelection;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;

/** What the methods of this package share. */
final class LowRank {
  private LowRank() {}

  /** Checks that several methods have. */
  static Problems check(Problems problems, int r, double dropout, String dropoutField) {
    return problems
        .require(r >= 1 && r <= 4096, "r", r, "the rank must be 1..4096; set \"r\" to 8 or 16")
        .require(dropout >= 0 && dropout < 1, dropoutField, dropout, "must be in [0, 1)");
  }

  static List<ModuleSpec> linears(ModuleTree modules, TargetModules targets, List<Integer> layers) {
    return TargetSelection.select(
        modules, targets, List.of(), layers, Set.of(ModuleSpec.Kind.LINEAR));
  }

  /** Uniform within {@code sqrt(6 / ((1 + a^2) fanIn))}, Kaiming's bound. */
  static float[] kaiming(Philox random, int size, int fanIn, double a) {
    float bound = (float) Math.sqrt(6 / ((1 + a * a) * fanIn));
    return random.uniform(size, -bound, bound);
  }

  static NDArray dropped(String path, NDArray x, double probability, TuningContext context) {
    if (!context.training() || probability == 0) {
      return x;
    }
    return Dropout.apply(x, probability, context.random().child(Philox.hash(path)));
  }

  /** {@code W + scale b a}, a new array; {@code b [out, r]}, {@code a [r, in]}. */
  static float[] fused(ModuleSpec module, BaseWeights base, float[] b, float[] a, double scale) {
    float[] weight = base.tensor(module.path() + ".weight").clone();
    addProduct(weight, b, a, module.out(), module.in(), scale);
    return weight;
  }

  static void addProduct(float[] weight, float[] b, float[] a, int out, int in, double scale) {
    int r = b.length / out;
    for (int o = 0; o < out; o++) {
      for (int q = 0; q < r; q++) {
        float factor = (float) (scale * b[o * r + q]);
        for (int i = 0; i < in; i++) {
          weight[o * in + i] += factor * a[q * in + i];
        }
      }
    }
  }

  /** Each row times its own factor. */
  static float[] scaledRows(float[] matrix, float[] factors) {
    float[] scaled = matrix.clone();
    int width = matrix.length / factors.length;
    for (int i = 0; i < scaled.length; i++) {
      scaled[i] *= factors[i / width];
    }
    return scaled;
  }

  /** Each column times its own factor. */
  static float[] scaledColumns(float[] matrix, float[] factors) {
    float[] scaled = matrix.clone();
    for (int i = 0; i < scaled.length; i++) {
      scaled[i] *= factors[i % factors.length];
    }
    return scaled;
  }

  /** {@code a [rows, inner] b [inner, columns]}. */
  static float[] product(float[] a, float[] b, int rows, int columns) {
    float[] product = new float[rows * columns];
    addProduct(product, a, b, rows, columns, 1);
    return product;
  }

  static float[] transposed(float[] matrix, int rows) {
    int columns = matrix.length / rows;
    float[] turned = new float[matrix.length];
    for (int i = 0; i < matrix.length; i++) {
      turned[i % columns * rows + i / columns] = matrix[i];
    }
    return turned;
  }

  /** A LoRA adapter under construction. */
  static final class LoraFile {
    private final Map<String, TensorData> tensors = new LinkedHashMap<>();

    void add(ModuleSpec module, int r, float[] a, float[] b) {
      put(module.path() + ".lora_A.weight", List.of(r, module.in()), a);
      put(module.path() + ".lora_B.weight", List.of(module.out(), r), b);
    }

    private void put(String name, List<Integer> shape, float[] values) {
      String full = AdapterTensors.PREFIX + name;
      tensors.put(full, TensorData.ofFloats(full, shape, values));
    }

    /** With {@code lora_alpha = scale r}. */
    AttachedMethod.AsLora build(
        int r,
        double scale,
        TargetModules targets,
        List<Integer> layers,
        List<String> modulesToSave) {
      SortedMap<String, TensorData> sorted = TensorData.byName(tensors.values());
      return new AttachedMethod.AsLora(
          new LoraConfig(
              r,
              scale * r,
              0,
              targets,
              List.of(),
              false,
              "true",
              Map.of(),
              Map.of(),
              layers,
              modulesToSave),
          sorted);
    }
  }
}
