package org.sparkpeft.core.peft.sharing;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.engine.FlatParameters;
import org.sparkpeft.core.engine.GradientScope;
import org.sparkpeft.core.model.TokenBatch;
import org.sparkpeft.core.model.Tuning;
import org.sparkpeft.core.nn.Linear;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.MethodTensors;
import org.sparkpeft.core.peft.ModifiedForward;
import org.sparkpeft.core.peft.Probes;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;

/** Runs single layers under a method, with and without derivatives. */
final class Bench {
  private Bench() {}

  /**
   * A layer's frozen weight {@code [out, in]} and its input, {@code shape} ending in {@code in}.
   */
  record Layer(String path, int out, float[] weight, float[] x, long... shape) {
    int in() {
      return (int) shape[shape.length - 1];
    }
  }

  /** The value that must be there. */
  static <T> T get(Map<String, T> map, String name) {
    return Objects.requireNonNull(map.get(name), name);
  }

  static ParameterVector vector(AttachedMethod method, Map<String, float[]> values) {
    ParameterLayout layout = ParameterLayout.of(method.shapes());
    float[] flat = new float[layout.size()];
    for (ParameterLayout.Entry entry : layout.entries()) {
      float[] tensor = get(values, entry.name());
      System.arraycopy(tensor, 0, flat, entry.offset(), entry.size());
    }
    return ParameterVector.of(layout, flat);
  }

  static int parameters(AttachedMethod method) {
    return ParameterLayout.of(method.shapes()).size();
  }

  /** {@code count} examples without padding. */
  static TokenBatch batch(int count, int width) {
    List<int[]> rows = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      rows.add(new int[width]);
    }
    return TokenBatch.of(rows, 0);
  }

  /** Random numbers for tests. */
  static float[] random(int size, long seed) {
    return Philox.of(seed, "bench").uniform(size, -1, 1);
  }

  /**
   * What a pass gives.
   *
   * @param outputs of the layers, one after the other
   * @param extra the terms added to the loss
   * @param gradients of the outputs' sum plus the extra terms, by trained tensor; empty in
   *     inference
   */
  record Pass(List<float[]> outputs, double extra, Map<String, float[]> gradients) {}

  static Pass infer(
      AttachedMethod method,
      Map<String, float[]> values,
      MethodState state,
      TokenBatch batch,
      Layer... layers) {
    try (NDManager manager = ComputeDevice.cpu().newManager()) {
      FlatParameters flat = flat(method, values);
      TuningContext context = TuningContext.inference(manager, batch);
      Map<String, NDArray> views = flat.views(flat.leaf(manager, false));
      List<float[]> outputs = new ArrayList<>();
      for (NDArray y : outputs(method, views, state, context, layers)) {
        outputs.add(y.toFloatArray());
      }
      return new Pass(outputs, 0, Map.of());
    }
  }

  static Pass train(
      AttachedMethod method,
      Map<String, float[]> values,
      MethodState state,
      TokenBatch batch,
      Layer... layers) {
    ParameterLayout layout = ParameterLayout.of(method.shapes());
    try (NDManager manager = ComputeDevice.cpu().newManager()) {
      FlatParameters flat = flat(method, values);
      List<NDArray> terms = new ArrayList<>();
      TuningContext context =
          new TuningContext(manager, true, Philox.of(5, "step"), batch, Probes.none(), terms);
      Map<String, NDArray> leaves = flat.leaves(manager);
      List<float[]> outputs = new ArrayList<>();
      double extra = 0;
      try (GradientScope scope = GradientScope.open()) {
        NDArray loss = manager.create(0f);
        for (NDArray y : outputs(method, leaves, state, context, layers)) {
          outputs.add(y.duplicate().toFloatArray());
          loss = loss.add(y.sum());
        }
        for (NDArray term : terms) {
          extra += term.getFloat();
          loss = loss.add(term);
        }
        scope.backward(loss);
      }
      float[] gradient = new float[layout.size()];
      flat.addGradients(leaves, 1, gradient);
      Map<String, float[]> gradients = new LinkedHashMap<>();
      for (ParameterLayout.Entry entry : layout.entries()) {
        gradients.put(
            entry.name(), java.util.Arrays.copyOfRange(gradient, entry.offset(), entry.end()));
      }
      return new Pass(outputs, extra, gradients);
    }
  }

  private static FlatParameters flat(AttachedMethod method, Map<String, float[]> values) {
    FlatParameters flat = new FlatParameters(ParameterLayout.of(method.shapes()));
    flat.set(vector(method, values).toArray());
    return flat;
  }

  private static List<NDArray> outputs(
      AttachedMethod method,
      Map<String, NDArray> views,
      MethodState state,
      TuningContext context,
      Layer... layers) {
    NDManager manager = context.manager();
    Tuning tuning =
        ModifiedForward.of(
            method.modifications(
                new MethodTensors(views, MethodTensors.load(manager, state)), context));
    List<NDArray> outputs = new ArrayList<>();
    for (Layer layer : layers) {
      NDArray weight = manager.create(layer.weight(), new Shape(layer.out(), layer.in()));
      NDArray x = manager.create(layer.x(), new Shape(layer.shape()));
      outputs.add(tuning.linear(new Linear(layer.path(), weight, null), x));
    }
    return outputs;
  }

  /** A layer whose own output is nothing. */
  static Layer silent(String path, int out, float[] x, long... shape) {
    return new Layer(path, out, new float[out * (int) shape[shape.length - 1]], x, shape);
  }

  /** Largest distance between the method's outputs and those of the weights it folds into. */
  static double unfused(
      AttachedMethod method,
      Map<String, float[]> values,
      MethodState state,
      TokenBatch batch,
      Layer... layers) {
    Map<String, float[]> base = new TreeMap<>();
    for (Layer layer : layers) {
      base.put(layer.path() + ".weight", layer.weight());
    }
    Map<String, float[]> fused =
        method.fuse(vector(method, values), state, name -> get(base, name));
    Pass pass = infer(method, values, state, batch, layers);
    double worst = 0;
    for (int l = 0; l < layers.length; l++) {
      Layer layer = layers[l];
      float[] weight = get(fused, layer.path() + ".weight");
      float[] y = pass.outputs().get(l);
      for (int i = 0; i < y.length; i++) {
        double sum = 0;
        for (int k = 0; k < layer.in(); k++) {
          sum +=
              (double) weight[i % layer.out() * layer.in() + k]
                  * layer.x()[i / layer.out() * layer.in() + k];
        }
        worst = Math.max(worst, Math.abs(sum - y[i]));
      }
    }
    return worst;
  }
}
