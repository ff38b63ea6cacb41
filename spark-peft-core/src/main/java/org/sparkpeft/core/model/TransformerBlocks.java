package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import java.util.ArrayList;
import java.util.List;
import org.sparkpeft.core.engine.AttentionKernel;
import org.sparkpeft.core.nn.Linear;
import org.sparkpeft.core.nn.Norm;

/**
 * A stack of transformer layers with layer norms, before the blocks (Vision Transformer, CLIP) or
 * after them (Keyword Transformer, Wav2Vec2). What comes in and goes out is the model's business.
 */
final class TransformerBlocks implements AutoCloseable {
  private record Layer(
      Linear query,
      Linear key,
      Linear value,
      Linear attentionOutput,
      Norm attentionNorm,
      Linear intermediate,
      Linear output,
      Norm outputNorm) {}

  /** What a layer does between its attention and its feed-forward block. */
  interface Between {
    /**
     * @param pass the layer's
     * @param layer the layer's number, from 0
     * @param stream the residual stream {@code [batch, seq, hidden]}
     * @return shaped as {@code stream}
     */
    NDArray apply(Pass pass, int layer, NDArray stream);
  }

  private final BlockConfig config;
  private final AttentionKernel attention;
  private final List<Layer> layers = new ArrayList<>();

  /** The modules of such layers, in forward order. */
  static List<ModuleSpec> modules(BlockConfig c, EncoderNames names, String prefix) {
    List<ModuleSpec> modules = new ArrayList<>();
    for (LayerPaths layer : paths(c, names, prefix)) {
      modules.add(ModuleSpec.linear(layer.query(), c.hidden(), c.inner(), c.queryBias()));
      modules.add(ModuleSpec.linear(layer.key(), c.hidden(), c.inner(), c.keyBias()));
      modules.add(ModuleSpec.linear(layer.value(), c.hidden(), c.inner(), c.queryBias()));
      modules.add(ModuleSpec.linear(layer.attentionOutput(), c.inner(), c.hidden()));
      modules.add(ModuleSpec.layerNorm(layer.attentionNorm(), c.hidden()));
      modules.add(ModuleSpec.linear(layer.intermediate(), c.hidden(), c.intermediate()));
      modules.add(ModuleSpec.linear(layer.output(), c.intermediate(), c.hidden()));
      modules.add(ModuleSpec.layerNorm(layer.outputNorm(), c.hidden()));
    }
    return modules;
  }

  /** Where the parts of the layers are. */
  static List<LayerPaths> paths(BlockConfig c, EncoderNames names, String prefix) {
    List<LayerPaths> layers = new ArrayList<>();
    for (int i = 0; i < c.layers(); i++) {
      String layer = prefix + names.layers() + "." + i + ".";
      layers.add(
          new LayerPaths(
              layer + names.query(),
              layer + names.key(),
              layer + names.value(),
              layer + names.attentionOutput(),
              layer + names.attentionNorm(),
              layer + names.intermediate(),
              layer + names.output(),
              layer + names.outputNorm()));
    }
    return layers;
  }

  /** How a model is built that has these layers and no others. */
  static ModuleTree.Structure structure(
      BlockConfig c, EncoderNames names, String prefix, String words) {
    return new ModuleTree.Structure(
        paths(c, names, prefix), c.hidden(), c.heads(), c.inner(), words, "");
  }

  /**
   * @param manager owner of the model, for kernels
   */
  TransformerBlocks(
      BlockConfig config,
      EncoderNames names,
      String prefix,
      FrozenLayers frozen,
      NDManager manager) {
    this.config = config;
    this.attention = new AttentionKernel(manager, config.heads(), config.headSize());
    for (LayerPaths layer : paths(config, names, prefix)) {
      layers.add(
          new Layer(
              frozen.linear(layer.query()),
              frozen.linear(layer.key()),
              frozen.linear(layer.value()),
              frozen.linear(layer.attentionOutput()),
              frozen.layerNorm(layer.attentionNorm(), config.epsilon()),
              frozen.linear(layer.intermediate()),
              frozen.linear(layer.output()),
              frozen.layerNorm(layer.outputNorm(), config.epsilon())));
    }
  }

  /**
   * @param x {@code [batch, seq, hidden]}
   * @param visible which positions each position sees
   * @return shaped as {@code x}
   */
  NDArray forward(Pass pass, NDArray x, Visibility visible) {
    return forward(pass, x, visible, (in, layer, stream) -> stream);
  }

  /** The same with something between the blocks of each layer. */
  NDArray forward(Pass pass, NDArray x, Visibility visible, Between between) {
    return forward(pass, x, visible, between, Integer.MAX_VALUE);
  }

  /**
   * What the layers make of the first tokens, each of which sees all.
   *
   * @param x {@code [batch, seq, hidden]}
   * @return {@code [batch, count, hidden]}
   */
  NDArray first(Pass pass, NDArray x, int count) {
    return forward(pass, x, Visibility.ALL, (in, layer, stream) -> stream, count);
  }

  private NDArray forward(
      Pass pass, NDArray x, Visibility visible, Between between, int lastCount) {
    NDArray stream = x;
    for (int i = 0; i < layers.size(); i++) {
      Layer layer = layers.get(i);
      int number = i;
      int count = i < layers.size() - 1 ? Integer.MAX_VALUE : lastCount;
      stream =
          pass.layer(
              stream,
              (in, s) -> {
                NDArray attended = attended(in, layer, s, count, visible);
                return fed(in, layer, between.apply(in, number, attended));
              });
    }
    return stream;
  }

  /** The stream of the first tokens after the attention block. */
  private NDArray attended(Pass pass, Layer layer, NDArray x, int count, Visibility visible) {
    String path = layer.attentionOutput.path();
    NDArray first = Pooling.first(x, count);
    if (config.preNorm()) {
      NDArray out = attend(pass, layer, pass.norm(layer.attentionNorm, x), count, visible);
      return pass.tuning().residual(path, first, out);
    }
    NDArray out = attend(pass, layer, x, count, visible);
    return pass.tuning().residual(path, layer.attentionNorm, first, out);
  }

  /** The stream after the feed-forward block. */
  private NDArray fed(Pass pass, Layer layer, NDArray x) {
    String path = layer.output.path();
    return config.preNorm()
        ? pass.tuning().residual(path, x, feedForward(pass, layer, pass.norm(layer.outputNorm, x)))
        : pass.tuning().residual(path, layer.outputNorm, x, feedForward(pass, layer, x));
  }

  private NDArray attend(Pass pass, Layer layer, NDArray x, int count, Visibility visible) {
    NDArray q = pass.linear(layer.query, Pooling.first(x, count)); // [batch, count, inner]
    Tuning.KeyValue past =
        pass.past(layer.key.path(), pass.linear(layer.key, x), pass.linear(layer.value, x));
    NDArray heads = visible.attend(attention, q, past);
    return pass.linear(layer.attentionOutput, heads); // [batch, count, hidden]
  }

  private NDArray feedForward(Pass pass, Layer layer, NDArray x) {
    NDArray inner = pass.linear(layer.intermediate, x); // [batch, count, intermediate]
    return pass.linear(layer.output, config.activation().apply(inner));
  }

  @Override
  public void close() {
    attention.close();
  }
}
