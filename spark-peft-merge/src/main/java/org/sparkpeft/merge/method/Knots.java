package org.sparkpeft.merge.method;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.TaskVector;

/**
 * KnOTS (Stoica et al., "Model merging with SVD to tie the Knots", 2024): for each layer the delta
 * weights of all tasks, side by side, are decomposed together, [dW_1 .. dW_T] = U S [V_1 .. V_T]^T;
 * what differs between tasks is then C_t = S V_t^T in the common basis U, and any merge method is
 * applied to the C_t of all layers as one vector. The result is U merge(C). Ranks may differ.
 * Singular values up to 1e-5 are dropped; the largest entry of each column of U is positive.
 *
 * @param method merges the C_t; published: TIES of density 0.2
 * @param lambda factor on the result, published example 0.6
 */
public record Knots(MergeMethod method, double lambda) {
  private static final double NEGLIGIBLE = 1e-5;

  /** A layer's common basis U and each task's C_t. */
  private record Aligned(Matrix basis, List<Matrix> parts) {}

  /**
   * Merges.
   *
   * @param layers for each layer one module of each task, tasks in the same order everywhere
   * @param weights one for each task
   * @return a module for each layer, with B = U, A = lambda * merge(C), scaling 1; a layer in which
   *     no task changed anything has rank 1 and is zero
   */
  public SortedMap<String, LoraModule> merge(
      SortedMap<String, List<LoraModule>> layers, List<Double> weights) {
    Map<String, Aligned> aligned = new TreeMap<>();
    Map<String, List<Integer>> shapes = new TreeMap<>();
    layers.forEach(
        (name, modules) -> {
          LoraMerge.check(modules, weights);
          Aligned layer = align(modules);
          aligned.put(name, layer);
          shapes.put(name, List.of(layer.basis().columns(), modules.get(0).in()));
        });
    ParameterLayout layout = ParameterLayout.of(shapes);
    List<TaskVector> vectors = new ArrayList<>();
    for (int t = 0; t < weights.size(); t++) {
      float[] flat = new float[layout.size()];
      int task = t;
      aligned.forEach(
          (name, layer) -> {
            float[] part = layer.parts().get(task).toFloats();
            System.arraycopy(part, 0, flat, layout.entry(name).offset(), part.length);
          });
      vectors.add(TaskVector.wrap(layout, flat));
    }
    float[] merged = method.merge(vectors, weights).times((float) lambda).toArray();
    SortedMap<String, LoraModule> result = new TreeMap<>();
    aligned.forEach(
        (name, layer) -> {
          int q = layer.basis().columns();
          ParameterLayout.Entry entry = layout.entry(name);
          float[] a = Arrays.copyOfRange(merged, entry.offset(), entry.end());
          result.put(name, new LoraModule(Matrix.of(q, a.length / q, a), layer.basis(), 1));
        });
    return Collections.unmodifiableSortedMap(result);
  }

  /** The joint decomposition in factored form: no delta weight is formed. */
  private static Aligned align(List<LoraModule> modules) {
    int total = modules.stream().mapToInt(LoraModule::rank).sum();
    Matrix b = new Matrix(modules.get(0).out(), total);
    Matrix triangles = new Matrix(total, total);
    List<Matrix> bases = new ArrayList<>();
    int at = 0;
    for (LoraModule module : modules) {
      b.paste(module.matrixB(), 0, at, module.scaling());
      Decompositions.Qr right = Decompositions.qr(module.matrixA().transpose());
      triangles.paste(right.r().transpose(), at, at, 1);
      bases.add(right.q());
      at += module.rank();
    }
    Decompositions.Qr left = Decompositions.qr(b);
    Decompositions.Svd core = Decompositions.svd(left.r().times(triangles));
    int q = 0;
    while (q < total && core.values()[q] > NEGLIGIBLE) {
      q++;
    }
    q = Math.max(1, q);
    Matrix v = core.v().scaleColumns(core.values()).columnRange(0, q).transpose();
    List<Matrix> parts = new ArrayList<>();
    at = 0;
    for (int t = 0; t < modules.size(); t++) {
      int rank = modules.get(t).rank();
      parts.add(v.columnRange(at, at + rank).times(bases.get(t).transpose()));
      at += rank;
    }
    return new Aligned(left.q().times(core.u()).columnRange(0, q), parts);
  }
}
