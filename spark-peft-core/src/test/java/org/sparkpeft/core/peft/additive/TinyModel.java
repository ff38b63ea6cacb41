package org.sparkpeft.core.peft.additive;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.sparkpeft.core.model.LayerPaths;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.model.TokenBatch;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.MethodTensors;
import org.sparkpeft.core.peft.Modification;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethods;
import org.sparkpeft.core.peft.TuningContext;

/** A BERT without weights, and what runs a method on chosen numbers. */
final class TinyModel {
  private TinyModel() {}

  static ModuleTree bert(int layers, int hidden, int inner, int vocabulary) {
    List<ModuleSpec> modules = new ArrayList<>();
    List<LayerPaths> paths = new ArrayList<>();
    modules.add(ModuleSpec.embedding("bert.embeddings.word_embeddings", vocabulary, hidden));
    modules.add(ModuleSpec.layerNorm("bert.embeddings.LayerNorm", hidden));
    for (int i = 0; i < layers; i++) {
      String at = "bert.encoder.layer." + i + ".";
      for (String name : List.of("query", "key", "value")) {
        modules.add(ModuleSpec.linear(at + "attention.self." + name, hidden, hidden));
      }
      modules.add(ModuleSpec.linear(at + "attention.output.dense", hidden, hidden));
      modules.add(ModuleSpec.layerNorm(at + "attention.output.LayerNorm", hidden));
      modules.add(ModuleSpec.linear(at + "intermediate.dense", hidden, inner));
      modules.add(ModuleSpec.linear(at + "output.dense", inner, hidden));
      modules.add(ModuleSpec.layerNorm(at + "output.LayerNorm", hidden));
      paths.add(
          new LayerPaths(
              at + "attention.self.query",
              at + "attention.self.key",
              at + "attention.self.value",
              at + "attention.output.dense",
              at + "attention.output.LayerNorm",
              at + "intermediate.dense",
              at + "output.dense",
              at + "output.LayerNorm"));
    }
    modules.add(
        ModuleSpec.linear("bert.pooler.dense", hidden, hidden).orElse(ModuleSpec.Origin.IDENTITY));
    return new ModuleTree(
        modules,
        new ModuleTree.Structure(paths, hidden, 1, hidden, "bert.embeddings.word_embeddings", ""));
  }

  static AttachedMethod attach(PeftConfig config, ModuleTree tree) {
    return PeftMethods.attach(config, tree);
  }

  static long parameters(AttachedMethod method) {
    return method.shapes().values().stream()
        .mapToLong(shape -> shape.stream().mapToLong(d -> d).reduce(1, (a, b) -> a * b))
        .sum();
  }

  /** A value that must be there. */
  static <T> T of(Map<String, T> values, String name) {
    return Objects.requireNonNull(values.get(name), name);
  }

  static Shape shape(List<Integer> shape) {
    return new Shape(shape.stream().mapToLong(d -> d).toArray());
  }

  /** The method's tensors with these values. */
  static MethodTensors tensors(
      NDManager manager, AttachedMethod method, Map<String, float[]> values, MethodState state) {
    Map<String, NDArray> parameters = new HashMap<>();
    method
        .shapes()
        .forEach((name, s) -> parameters.put(name, manager.create(values.get(name), shape(s))));
    return new MethodTensors(parameters, MethodTensors.load(manager, state));
  }

  static TuningContext context(NDManager manager) {
    return TuningContext.inference(manager, TokenBatch.of(List.of(new int[] {1}), 0));
  }

  /** The changed residual connections, in order, with no norm after the addition. */
  static float[] residual(Modification modification, NDArray x, NDArray f) {
    return joined(modification, x, f).toFloatArray();
  }

  static NDArray joined(Modification modification, NDArray x, NDArray f) {
    return ((Modification.OnResidual) modification).change().apply((i, o) -> i.add(o), x, f);
  }
}
