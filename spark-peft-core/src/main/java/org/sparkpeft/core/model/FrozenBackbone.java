package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import java.lang.ref.Cleaner;
import java.lang.ref.Reference;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Stream;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.io.WeightSource;

/** An architecture with its weights in memory. */
final class FrozenBackbone implements Backbone {
  /** Frees the tensors of a model that nobody closed, once nobody can reach it. */
  private static final Cleaner CLEANER = Cleaner.create();

  private final NDManager manager;
  private final WeightForm form;
  private final Architecture architecture;
  private final ModuleTree modules;
  private final List<ModuleSpec> buffers;
  private final FrozenLayers frozen;
  private final Network network;
  private final Cleaner.Cleanable tensors;

  /**
   * @param source what the weights are, for messages
   */
  FrozenBackbone(
      Architecture architecture,
      HeadConfig head,
      String source,
      WeightSource weights,
      ComputeDevice device,
      WeightForm form) {
    this.form = form;
    this.architecture = architecture;
    this.modules = architecture.modules(head);
    this.buffers = architecture.buffers(head);
    this.manager = device.newManager();
    try {
      this.frozen =
          FrozenLayers.load(
              manager,
              source,
              Stream.concat(modules.all().stream(), buffers.stream()).toList(),
              weights,
              architecture.prefix(),
              form,
              modules.structure().output());
      this.network = architecture.network(head, frozen, manager);
      this.tensors = CLEANER.register(this, new Release(network, manager));
    } catch (RuntimeException e) {
      manager.close();
      throw e;
    }
  }

  @Override
  public ModuleTree modules() {
    return modules;
  }

  @Override
  public ModelSizes config() {
    return architecture.sizes();
  }

  @Override
  public WeightForm form() {
    return form;
  }

  @Override
  public long bytes() {
    return frozen.bytes();
  }

  @Override
  public String prefix() {
    return architecture.prefix();
  }

  @Override
  public Set<String> missing() {
    return Set.copyOf(frozen.missing());
  }

  @Override
  public Map<String, String> tied() {
    return Map.copyOf(frozen.tied());
  }

  @Override
  public Map<String, List<Integer>> buffers() {
    Map<String, List<Integer>> shapes = new LinkedHashMap<>();
    buffers.forEach(buffer -> shapes.putAll(buffer.tensors()));
    return shapes;
  }

  @Override
  public InputForm input() {
    return architecture.input();
  }

  @Override
  public boolean isEncoderDecoder() {
    return architecture.isEncoderDecoder();
  }

  @Override
  public boolean isRowByRow() {
    return architecture.isRowByRow();
  }

  @Override
  public NDArray forward(NDManager step, ModelInput input, Tuning tuning, KeyValueCache cache) {
    try {
      return network.hidden(new Pass(step, tuning, cache), input);
    } finally {
      Reference.reachabilityFence(this);
    }
  }

  @Override
  public NDArray features(NDManager step, NDArray hidden, ModelInput input, Tuning tuning) {
    return network.features(new Pass(step, tuning, KeyValueCache.NONE), hidden, input);
  }

  @Override
  public NDArray read(NDManager step, ModelInput input, Tuning tuning) {
    try {
      return network.read(new Pass(step, tuning, KeyValueCache.NONE), input);
    } finally {
      Reference.reachabilityFence(this);
    }
  }

  @Override
  public NDArray logits(NDArray features, Tuning tuning) {
    try {
      return network.logits(features, tuning);
    } finally {
      Reference.reachabilityFence(this);
    }
  }

  @Override
  public float[] stored(WeightSource checkpoint, String tensor) {
    try {
      return frozen.stored(checkpoint, tensor);
    } finally {
      Reference.reachabilityFence(this);
    }
  }

  @Override
  public float[] frozen(String tensor) {
    try {
      return frozen.values(tensor);
    } finally {
      Reference.reachabilityFence(this);
    }
  }

  /** Owner of the model's tensors. */
  NDManager manager() {
    return manager;
  }

  /** Tensors the model owns; a forward pass must not add any. */
  int ownedTensors() {
    return manager.getManagedArrays().size();
  }

  @Override
  public void close() {
    tensors.clean();
  }

  /** Must not refer to the model, or that would never be unreachable. */
  private record Release(Network network, NDManager manager) implements Runnable {
    @Override
    public void run() {
      network.close();
      manager.close();
    }
  }
}
