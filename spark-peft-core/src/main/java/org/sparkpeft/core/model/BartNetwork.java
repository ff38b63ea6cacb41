package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;
import org.sparkpeft.core.engine.AttentionKernel;
import org.sparkpeft.core.engine.Scalars;
import org.sparkpeft.core.nn.Embedding;
import org.sparkpeft.core.nn.Linear;
import org.sparkpeft.core.nn.Norm;

/** What {@link BartModel} computes. */
final class BartNetwork implements Network {
  private static final float EPSILON = 1e-5f;

  private record Attention(Linear query, Linear key, Linear value, Linear output, Norm norm) {}

  /**
   * @param cross attention to the encoder's states, in a decoder
   */
  private record Layer(
      Attention self, Optional<Attention> cross, Linear up, Linear down, Norm norm) {}

  private record Stack(Embedding places, Norm norm, List<Layer> layers) {}

  private final BartModel config;
  private final HeadConfig.Kind kind;
  private final DecoderHead head;
  private final AttentionKernel attention;
  private final Embedding words;
  private final Stack encoder;
  private final Stack decoder;
  private final FrozenLayers frozen;

  BartNetwork(BartModel config, HeadConfig head, FrozenLayers frozen, NDManager manager) {
    this.config = config;
    this.kind = head.kind();
    this.head = new DecoderHead(head, frozen);
    this.frozen = frozen;
    ModelSizes sizes = config.sizes();
    this.attention = new AttentionKernel(manager, sizes.heads(), sizes.hidden() / sizes.heads());
    String base = DecoderHead.path(config.prefix(), head);
    this.words = frozen.embedding(base + "shared");
    this.encoder = stack(frozen, base + "encoder.", config.encoderLayers(), false);
    this.decoder = stack(frozen, base + "decoder.", config.decoderLayers(), true);
  }

  private static Stack stack(FrozenLayers frozen, String path, int count, boolean crosses) {
    List<Layer> layers = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      String layer = path + "layers." + i + ".";
      layers.add(
          new Layer(
              attention(frozen, layer + "self_attn"),
              crosses ? Optional.of(attention(frozen, layer + "encoder_attn")) : Optional.empty(),
              frozen.linear(layer + "fc1"),
              frozen.linear(layer + "fc2"),
              frozen.layerNorm(layer + "final_layer_norm", EPSILON)));
    }
    return new Stack(
        frozen.embedding(path + "embed_positions"),
        frozen.layerNorm(path + "layernorm_embedding", EPSILON),
        List.copyOf(layers));
  }

  private static Attention attention(FrozenLayers frozen, String path) {
    return new Attention(
        frozen.linear(path + ".q_proj"),
        frozen.linear(path + ".k_proj"),
        frozen.linear(path + ".v_proj"),
        frozen.linear(path + ".out_proj"),
        frozen.layerNorm(path + "_layer_norm", EPSILON));
  }

  @Override
  public NDArray hidden(Pass pass, ModelInput input) {
    TokenBatch source = Network.tokens(input);
    TokenBatch target = Network.target(source);
    @Nullable NDArray encoded = pass.cache().length() > 0 ? null : encode(pass.ofEncoder(), source);
    return decode(pass.ofDecoder(), source, target, encoded);
  }

  private NDArray encode(Pass pass, TokenBatch source) {
    int virtual = pass.virtualTokens();
    NDArray x = pass.part(in -> embed(in, encoder, source)); // [batch, source, hidden]
    Visibility visible = Visibility.unpadded(pass, source, pass.offset() + virtual);
    for (Layer layer : encoder.layers) {
      x = pass.layer(x, (in, s) -> feedForward(in, layer, attend(in, layer.self, s, visible)));
    }
    return x;
  }

  /**
   * @param encoded {@code [batch, source, hidden]}; null when the cache has what is needed of it
   */
  private NDArray decode(
      Pass pass, TokenBatch source, TokenBatch target, @Nullable NDArray encoded) {
    NDArray x = pass.part(in -> embed(in, decoder, target)); // [batch, seq, hidden]
    Visibility visible = Visibility.causal(pass, target, 0);
    Visibility across = Visibility.unpadded(pass, source, pass.tuning().virtualTokens());
    for (Layer layer : decoder.layers) {
      x =
          pass.layer(
              x,
              (in, stream) -> {
                NDArray attended = attend(in, layer.self, stream, visible);
                return feedForward(in, layer, listen(in, layer, attended, across, encoded));
              });
    }
    pass.cache().advance(target.width() + pass.prefixLength());
    return x;
  }

  private NDArray listen(
      Pass pass, Layer layer, NDArray x, Visibility across, @Nullable NDArray encoded) {
    Attention cross = layer.cross.orElseThrow();
    Tuning.KeyValue memory = pass.memory(cross.key, cross.value, encoded);
    NDArray heads = across.attend(attention, pass.linear(cross.query, x), memory);
    NDArray out = pass.linear(cross.output, heads);
    return pass.tuning().residual(cross.output.path(), cross.norm, x, out);
  }

  private NDArray embed(Pass pass, Stack stack, TokenBatch batch) {
    NDArray ids = pass.step().create(batch.flatIds(), new Shape(batch.size(), batch.width()));
    NDArray rows = pass.embedding(words, ids); // [batch, seq, hidden]
    if (config.scaled()) {
      rows = Scalars.times(rows, (float) Math.sqrt(config.sizes().hidden()));
    }
    int[][] places = Visibility.positions(pass, batch);
    for (int[] row : places) {
      for (int i = 0; i < row.length; i++) {
        row[i] += BartModel.POSITION_OFFSET;
      }
    }
    NDArray at = pass.embedding(stack.places, pass.step().create(places));
    return pass.norm(stack.norm, pass.withPrompt(rows).add(at));
  }

  private NDArray attend(Pass pass, Attention block, NDArray x, Visibility visible) {
    NDArray q = pass.linear(block.query, x);
    NDArray k = pass.linear(block.key, x);
    NDArray v = pass.linear(block.value, x);
    NDArray heads = visible.attend(attention, q, pass.past(block.key.path(), k, v));
    heads = pass.tuning().attended(block.key, block.value, q, heads);
    NDArray out = pass.linear(block.output, heads); // [batch, seq, hidden]
    return pass.tuning().residual(block.output.path(), block.norm, x, out);
  }

  private NDArray feedForward(Pass pass, Layer layer, NDArray x) {
    NDArray inner = config.activation().apply(pass.linear(layer.up, x));
    NDArray out = pass.linear(layer.down, inner); // [batch, seq, hidden]
    return pass.tuning().residual(layer.down.path(), layer.norm, x, out);
  }

  @Override
  public NDArray features(Pass pass, NDArray hidden, ModelInput input) {
    return head.features(pass.ofDecoder(), hidden, Network.target(Network.tokens(input)));
  }

  @Override
  public NDArray logits(NDArray features, Tuning tuning) {
    NDArray logits = head.logits(features, tuning);
    return kind == HeadConfig.Kind.LANGUAGE
        ? logits.add(frozen.tensor(BartModel.LOGITS_BIAS))
        : logits;
  }

  @Override
  public void close() {
    attention.close();
  }
}
