package org.sparkpeft.core.peft.additive;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SortedMap;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.model.TokenBatch;
import org.sparkpeft.core.peft.AdapterTensors;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.BaseWeights;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.MethodTensors;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * Vectors in front of tokens or keys, made by a small trained network. Hugging Face saves what the
 * network computes and drops the network; here it is saved beside, so that training resumes. A file
 * without it can be used, not trained further: the vectors are then the state.
 */
abstract class EncodedVectors implements AttachedMethod {
  @Override
  public boolean startsAsBase() {
    return false;
  }

  /** Before the network's tensors. */
  static final String ENCODER = "prompt_encoder.";

  private static final String EMBEDDING = ENCODER + "embedding.weight";

  /** The network's output, {@link #outputShape}. */
  abstract NDArray encode(MethodTensors tensors, TuningContext context);

  abstract List<Integer> outputShape();

  /** The vectors of one step. */
  final NDArray vectors(MethodTensors tensors, TuningContext context) {
    if (!tensors.hasState(VirtualTokens.NAME)) {
      return encode(tensors, context);
    }
    if (context.training()) {
      throw new ConfigException(
          "peft_type",
          "the adapter holds "
              + VirtualTokens.NAME
              + " without the encoder that made them, so it cannot be trained further; start anew,"
              + " or from a file with "
              + EMBEDDING);
    }
    NDArray copy = tensors.state(VirtualTokens.NAME).duplicate();
    copy.attach(context.manager());
    return copy;
  }

  @Override
  public final int virtualTokens() {
    return outputShape().get(0);
  }

  @Override
  public final String savedModulePrefix() {
    return VirtualTokens.HEAD_PREFIX;
  }

  @Override
  public final SortedMap<String, TensorData> save(ParameterVector parameters, MethodState state) {
    Map<String, TensorData> file = new LinkedHashMap<>();
    if (state.find(VirtualTokens.NAME).isPresent()) {
      file.put(VirtualTokens.NAME, state.tensor(VirtualTokens.NAME));
      return TensorData.byName(file.values());
    }
    shapes()
        .forEach(
            (name, shape) ->
                file.put(name, TensorData.ofFloats(name, shape, parameters.tensor(name))));
    file.computeIfAbsent(
        VirtualTokens.NAME, name -> TensorData.ofFloats(name, outputShape(), computed(parameters)));
    return TensorData.byName(file.values());
  }

  private float[] computed(ParameterVector parameters) {
    try (NDManager manager = ComputeDevice.cpu().newManager()) {
      Map<String, NDArray> views = new HashMap<>();
      shapes()
          .forEach(
              (name, shape) ->
                  views.put(
                      name,
                      manager.create(
                          parameters.tensor(name),
                          new Shape(shape.stream().mapToLong(d -> d).toArray()))));
      TokenBatch nothing = TokenBatch.of(List.of(new int[] {0}), 0);
      TuningContext context = TuningContext.inference(manager, nothing);
      return encode(new MethodTensors(views, Map.of()), context).toFloatArray();
    }
  }

  @Override
  public final Loaded load(AdapterTensors file, BaseWeights base) {
    TensorData vectors = file.take(VirtualTokens.NAME, outputShape());
    if (shapes().containsKey(VirtualTokens.NAME)) {
      if (file.has(EMBEDDING)) { // the same once more
        file.take(EMBEDDING, outputShape());
      }
      return new Loaded(file.takeAll("", shapes()), MethodState.EMPTY);
    }
    if (file.has(EMBEDDING)) {
      return new Loaded(file.takeAll("", shapes()), MethodState.EMPTY);
    }
    Map<String, float[]> unknown = new LinkedHashMap<>();
    shapes()
        .forEach(
            (name, shape) ->
                unknown.put(name, new float[shape.stream().reduce(1, Math::multiplyExact)]));
    return new Loaded(unknown, MethodState.of(Map.of(VirtualTokens.NAME, vectors)));
  }

  @Override
  public final Optional<String> whyNotFused() {
    return Optional.of("vectors in front of the text are no part of any weight");
  }

  @Override
  public final Map<String, float[]> fuse(
      ParameterVector parameters, MethodState state, BaseWeights base) {
    throw new IllegalStateException(whyNotFused().orElseThrow());
  }
}
