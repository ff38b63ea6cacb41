package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.index.NDIndex;
import ai.djl.ndarray.types.Shape;
import java.lang.ref.Cleaner;
import java.lang.ref.Reference;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import org.sparkpeft.core.engine.AttentionKernel;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.io.WeightSource;

/** A BERT-like encoder with one of the heads of {@link HeadConfig}. */
final class EncoderBackbone implements Backbone {
  private static final String CLASSIFIER = "classifier";

  /** Frees the tensors of a model that nobody closed, once nobody can reach it. */
  private static final Cleaner CLEANER = Cleaner.create();

  private final NDManager manager;
  private final EncoderFamily family;
  private final EncoderConfig config;
  private final HeadConfig head;
  private final ModuleTree modules;
  private final FrozenLayers frozen;
  private final AttentionKernel attention;
  private final PostNormEncoder encoder;
  private final Cleaner.Cleanable tensors;

  static ModuleTree modules(EncoderFamily family, EncoderConfig config, HeadConfig head) {
    List<ModuleSpec> modules =
        new ArrayList<>(PostNormEncoder.modules(config, family.names(), prefix(family, head)));
    switch (head.kind()) {
      case NONE -> {}
      case SEQUENCE -> modules.addAll(family.sequenceHead(config, head.outputs()));
      case MEAN, TOKEN ->
          modules.add(
              ModuleSpec.linear(CLASSIFIER, config.hidden(), head.outputs())
                  .orElse(ModuleSpec.Origin.FRESH));
    }
    return new ModuleTree(
        modules, PostNormEncoder.structure(config, family.names(), prefix(family, head)));
  }

  /** In Hugging Face's class without a head, the encoder's modules have no prefix. */
  private static String prefix(EncoderFamily family, HeadConfig head) {
    return head.kind() == HeadConfig.Kind.NONE ? "" : family.prefix() + ".";
  }

  EncoderBackbone(
      EncoderFamily family,
      EncoderConfig config,
      HeadConfig head,
      String source,
      WeightSource weights,
      ComputeDevice device) {
    this.family = family;
    this.config = config;
    this.head = head;
    this.modules = modules(family, config, head);
    this.manager = device.newManager();
    try {
      this.frozen = FrozenLayers.load(manager, source, modules, weights, family.prefix());
      this.attention =
          new AttentionKernel(manager, config.heads(), config.hidden() / config.heads());
      this.encoder = new PostNormEncoder(config, family, prefix(family, head), frozen, attention);
      this.tensors = CLEANER.register(this, new Release(attention, manager));
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
  public EncoderConfig config() {
    return config;
  }

  @Override
  public Set<String> missing() {
    return Set.copyOf(frozen.missing());
  }

  @Override
  public NDArray forward(NDManager step, TokenBatch batch, Tuning tuning) {
    try {
      return encoder.forward(step, batch, tuning);
    } finally {
      Reference.reachabilityFence(this);
    }
  }

  @Override
  public NDArray features(NDManager step, NDArray hidden, TokenBatch batch, Tuning tuning) {
    return switch (head.kind()) {
      case NONE, MEAN -> meanPool(step, hidden, batch, tuning);
      case SEQUENCE -> hidden.get(new NDIndex(":, 0"));
      case TOKEN ->
          tuning.virtualTokens() == 0
              ? hidden
              : hidden.get(new NDIndex(":, " + tuning.virtualTokens() + ":"));
    };
  }

  @Override
  public NDArray logits(NDArray features, Tuning tuning) {
    HeadLayers layers = new HeadLayers(frozen, tuning);
    try {
      return switch (head.kind()) {
        case NONE -> throw new IllegalStateException("the model was loaded without a head");
        case SEQUENCE -> family.sequenceLogits(layers, features);
        case MEAN, TOKEN -> layers.linear(CLASSIFIER, features);
      };
    } finally {
      Reference.reachabilityFence(this);
    }
  }

  private static NDArray meanPool(NDManager step, NDArray hidden, TokenBatch batch, Tuning tuning) {
    int virtual = tuning.virtualTokens();
    int width = virtual + batch.width();
    float[] shares = new float[batch.size() * width];
    for (int row = 0; row < batch.size(); row++) {
      int from = row * width + virtual;
      Arrays.fill(shares, from, from + batch.length(row), 1f / batch.length(row));
    }
    NDArray weights = step.create(shares, new Shape(batch.size(), 1, width));
    return weights.batchMatMul(hidden).squeeze(1); // [batch, hidden]
  }

  @Override
  public float[] frozen(String tensor) {
    try {
      return frozen.tensor(tensor).toFloatArray();
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
  private record Release(AttentionKernel attention, NDManager manager) implements Runnable {
    @Override
    public void run() {
      attention.close();
      manager.close();
    }
  }
}
