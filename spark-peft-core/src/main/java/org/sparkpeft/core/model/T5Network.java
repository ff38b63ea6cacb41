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

/** What {@link T5Model} computes. */
final class T5Network implements Network {

  private record Attention(Norm norm, Linear query, Linear key, Linear value, Linear output) {}

  /**
   * @param cross attention to the encoder's states, in a decoder
   * @param gate first layer of a gated feed-forward block
   */
  private record Layer(
      Attention self,
      Optional<Attention> cross,
      Norm norm,
      Optional<Linear> gate,
      Linear up,
      Linear down) {}

  /**
   * @param distances biases of the scores, {@code [buckets, heads]}
   */
  private record Stack(Embedding distances, List<Layer> layers, Norm norm) {}

  private final T5Model config;
  private final DecoderHead head;
  private final AttentionKernel attention;
  private final Embedding words;
  private final Stack encoder;
  private final Stack decoder;

  T5Network(T5Model config, HeadConfig head, FrozenLayers frozen, NDManager manager) {
    this.config = config;
    this.head = new DecoderHead(head, frozen);
    int heads = config.sizes().heads();
    this.attention =
        new AttentionKernel(
            manager, new AttentionKernel.Form(heads, heads, config.keySize(), 1, 0));
    this.words = frozen.embedding("shared");
    this.encoder = stack(config, frozen, "encoder.", config.encoderLayers(), false);
    this.decoder = stack(config, frozen, "decoder.", config.decoderLayers(), true);
  }

  private static Stack stack(
      T5Model config, FrozenLayers frozen, String path, int count, boolean crosses) {
    float epsilon = config.epsilon();
    List<Layer> layers = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      String block = path + "block." + i + ".layer.";
      String last = block + (crosses ? "2." : "1.");
      String dense = last + "DenseReluDense.";
      layers.add(
          new Layer(
              attention(frozen, block + "0.", "SelfAttention.", epsilon),
              crosses
                  ? Optional.of(attention(frozen, block + "1.", "EncDecAttention.", epsilon))
                  : Optional.empty(),
              frozen.rmsNorm(last + "layer_norm", epsilon),
              config.gated() ? Optional.of(frozen.linear(dense + "wi_0")) : Optional.empty(),
              frozen.linear(dense + (config.gated() ? "wi_1" : "wi")),
              frozen.linear(dense + "wo")));
    }
    return new Stack(
        frozen.embedding(path + "block.0." + T5Model.BIAS),
        List.copyOf(layers),
        frozen.rmsNorm(path + "final_layer_norm", epsilon));
  }

  private static Attention attention(
      FrozenLayers frozen, String layer, String name, float epsilon) {
    return new Attention(
        frozen.rmsNorm(layer + "layer_norm", epsilon),
        frozen.linear(layer + name + "q"),
        frozen.linear(layer + name + "k"),
        frozen.linear(layer + name + "v"),
        frozen.linear(layer + name + "o"));
  }

  @Override
  public NDArray hidden(Pass pass, ModelInput input) {
    TokenBatch source = Network.tokens(input);
    TokenBatch target = Network.target(source);
    @Nullable NDArray encoded = pass.cache().length() > 0 ? null : encode(pass.ofEncoder(), source);
    return decode(pass.ofDecoder(), source, target, encoded);
  }

  private NDArray encode(Pass pass, TokenBatch source) {
    NDArray x = pass.part(in -> in.embedded(words, ids(in, source))); // [batch, source, hidden]
    int before = pass.offset() + pass.virtualTokens();
    Visibility visible =
        Visibility.unpadded(pass, source, before).plus(pass, bias(pass, encoder, source, true));
    for (Layer layer : encoder.layers) {
      x = pass.layer(x, (in, s) -> feedForward(in, layer, attend(in, layer.self, s, visible)));
    }
    return pass.norm(encoder.norm, x);
  }

  /**
   * @param encoded {@code [batch, source, hidden]}; null when the cache has what is needed of it
   */
  private NDArray decode(
      Pass pass, TokenBatch source, TokenBatch target, @Nullable NDArray encoded) {
    NDArray x = pass.part(in -> in.embedded(words, ids(in, target))); // [batch, seq, hidden]
    Visibility visible =
        Visibility.causal(pass, target, 0).plus(pass, bias(pass, decoder, target, false));
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
    return pass.norm(decoder.norm, x);
  }

  private NDArray listen(
      Pass pass, Layer layer, NDArray x, Visibility across, @Nullable NDArray encoded) {
    Attention cross = layer.cross.orElseThrow();
    Tuning.KeyValue memory = pass.memory(cross.key, cross.value, encoded);
    NDArray q = pass.linear(cross.query, pass.norm(cross.norm, x));
    NDArray out = pass.linear(cross.output, across.attend(attention, q, memory));
    return pass.tuning().residual(cross.output.path(), x, out);
  }

  private static NDArray ids(Pass pass, TokenBatch batch) {
    return pass.step().create(batch.flatIds(), new Shape(batch.size(), batch.width()));
  }

  /**
   * What the distances add to the scores, {@code [1, heads, new, keys]}; a trained prefix and
   * virtual tokens count as tokens.
   */
  private NDArray bias(Pass pass, Stack stack, TokenBatch batch, boolean bothWays) {
    int before = pass.offset();
    int fresh = pass.virtualTokens() + batch.width();
    int[][] rows = new int[fresh][before + fresh];
    for (int i = 0; i < fresh; i++) {
      for (int j = 0; j < rows[i].length; j++) {
        rows[i][j] = bucket(j - before - i, config.buckets(), config.farthest(), bothWays);
      }
    }
    NDArray biases = pass.embedding(stack.distances, pass.step().create(rows));
    return biases.transpose(2, 0, 1).expandDims(0);
  }

  /**
   * Row of the table of distances: one for each of the nearest, then ranges that grow
   * logarithmically.
   *
   * @param distance place of the key minus place of the query
   * @param bothWays whether later keys have rows of their own, the second half; else they share
   *     that of distance 0
   */
  static int bucket(int distance, int buckets, int farthest, boolean bothWays) {
    int half = bothWays ? buckets / 2 : buckets;
    int first = bothWays && distance > 0 ? half : 0;
    int away = bothWays ? Math.abs(distance) : Math.max(-distance, 0);
    int exact = half / 2;
    if (away < exact) {
      return first + away;
    }
    // In float32 as in the reference, so that distances on a border fall on the same side.
    float ratio = (float) Math.log((float) away / exact);
    float share = ratio / (float) Math.log((double) farthest / exact);
    return first + Math.min(half - 1, exact + (int) (share * (half - exact)));
  }

  private NDArray attend(Pass pass, Attention block, NDArray x, Visibility visible) {
    NDArray normed = pass.norm(block.norm, x);
    NDArray q = pass.linear(block.query, normed);
    NDArray k = pass.linear(block.key, normed);
    NDArray v = pass.linear(block.value, normed);
    NDArray heads = visible.attend(attention, q, pass.past(block.key.path(), k, v));
    heads = pass.tuning().attended(block.key, block.value, q, heads);
    NDArray out = pass.linear(block.output, heads); // [batch, seq, hidden]
    return pass.tuning().residual(block.output.path(), x, out);
  }

  private NDArray feedForward(Pass pass, Layer layer, NDArray x) {
    NDArray normed = pass.norm(layer.norm, x);
    NDArray up = pass.linear(layer.up, normed); // [batch, seq, inner]
    NDArray inner =
        layer
            .gate
            .map(gate -> config.activation().apply(pass.linear(gate, normed)).mul(up))
            .orElseGet(() -> config.activation().apply(up));
    NDArray out = pass.linear(layer.down, inner);
    return pass.tuning().residual(layer.down.path(), x, out);
  }

  @Override
  public NDArray features(Pass pass, NDArray hidden, ModelInput input) {
    return head.features(pass.ofDecoder(), hidden, Network.target(Network.tokens(input)));
  }

  @Override
  public NDArray logits(NDArray features, Tuning tuning) {
    NDArray states =
        config.scaledOutput()
            ? Scalars.times(features, (float) (1 / Math.sqrt(config.sizes().hidden())))
            : features;
    return head.logits(states, tuning);
  }

  @Override
  public void close() {
    attention.close();
  }
}
