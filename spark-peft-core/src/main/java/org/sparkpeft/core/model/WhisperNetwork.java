package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import java.util.Objects;
import java.util.Optional;
import org.jspecify.annotations.Nullable;
import org.sparkpeft.core.engine.AttentionKernel;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.nn.Convolution;

/** What a {@link WhisperModel} computes. */
final class WhisperNetwork implements Network {
  private final WhisperModel config;
  private final HeadConfig head;
  private final FrozenLayers frozen;
  private final String base;
  private final TransformerBlocks encoder;
  private final Optional<TransformerBlocks> decoder;
  private final AttentionKernel crossAttention;
  private final float[] sinusoids;

  WhisperNetwork(WhisperModel config, HeadConfig head, FrozenLayers frozen, NDManager manager) {
    this.config = config;
    this.head = head;
    this.frozen = frozen;
    this.base = config.path(head);
    this.encoder =
        new TransformerBlocks(
            config.encoder(), EncoderNames.whisper(), base + "encoder.", frozen, manager);
    BlockConfig blocks = config.decoder();
    this.decoder =
        WhisperModel.encoderAlone(head)
            ? Optional.empty()
            : Optional.of(
                new TransformerBlocks(
                    blocks, EncoderNames.whisper(), base + "decoder.", frozen, manager));
    this.crossAttention = new AttentionKernel(manager, blocks.heads(), blocks.headSize());
    this.sinusoids = sinusoids(config.frames(), config.sizes().hidden());
  }

  /** {@code [length, size]}: sines of falling frequencies, then their cosines. */
  static float[] sinusoids(int length, int size) {
    int half = size / 2;
    float[] values = new float[Math.multiplyExact(length, size)];
    for (int position = 0; position < length; position++) {
      for (int i = 0; i < half; i++) {
        double angle = position * Math.exp(-Math.log(10_000) / (half - 1) * i);
        values[position * size + i] = (float) Math.sin(angle);
        values[position * size + half + i] = (float) Math.cos(angle);
      }
    }
    return values;
  }

  @Override
  public NDArray hidden(Pass pass, ModelInput input) {
    if (input instanceof FrameBatch recordings && WhisperModel.encoderAlone(head)) {
      return encoded(pass, recordings);
    }
    if (input instanceof TranscriptBatch both && decoder.isPresent()) {
      return decoded(pass, both, decoder.get());
    }
    throw new IllegalArgumentException(
        "the model reads "
            + (WhisperModel.encoderAlone(head) ? "recordings" : "recordings with texts")
            + ", got "
            + input.getClass().getSimpleName());
  }

  /** {@code [batch, frames, hidden]}. */
  private NDArray encoded(Pass pass, FrameBatch batch) {
    if (batch.frames() != 2 * config.frames() || batch.features() != config.melBins()) {
      throw new DataException(
          "the model hears %d frames of %d mel bins, got %s; pad or cut the recordings"
              .formatted(2 * config.frames(), config.melBins(), batch.shape()));
    }
    NDArray x =
        pass.step().create(batch.flat(), new Shape(batch.size(), batch.frames(), batch.features()));
    x = convolved(pass, base + "encoder.conv1", x, 1);
    x = convolved(pass, base + "encoder.conv2", x, 2); // [batch, frames, hidden]
    Shape places = new Shape(1, config.frames(), config.sizes().hidden());
    x = x.add(pass.step().create(sinusoids, places));
    // The encoder hears everything at once: nothing of it goes to the decoder's cache.
    Pass whole = new Pass(pass.step(), pass.tuning(), KeyValueCache.NONE);
    return norm(pass, base + "encoder.layer_norm", encoder.forward(whole, x, Visibility.ALL));
  }

  private NDArray convolved(Pass pass, String path, NDArray x, int stride) {
    Shape shape = x.getShape();
    NDArray zero = pass.step().zeros(new Shape(shape.get(0), 1, shape.get(2)));
    NDArray padded = zero.concat(x, 1).concat(zero, 1);
    NDArray windows = Convolution.unfold(padded, WhisperModel.KERNEL, stride);
    return config.encoder().activation().apply(pass.linear(frozen.linear(path), windows));
  }

  private NDArray norm(Pass pass, String path, NDArray x) {
    return pass.norm(frozen.layerNorm(path, config.encoder().epsilon()), x);
  }

  /** {@code [batch, virtual tokens + seq, hidden]}. */
  private NDArray decoded(Pass pass, TranscriptBatch input, TransformerBlocks blocks) {
    TokenBatch texts = input.texts();
    boolean heard = pass.cache().kept(key(0)) != null;
    @Nullable NDArray states = heard ? null : encoded(pass, input.recordings());
    NDArray ids = pass.step().create(texts.flatIds(), new Shape(texts.size(), texts.width()));
    NDArray x = pass.embedded(frozen.embedding(base + "decoder.embed_tokens"), ids);
    NDArray at = pass.step().create(Visibility.positions(pass, texts));
    x = x.add(pass.embedding(frozen.embedding(base + "decoder.embed_positions"), at));
    Visibility visible = Visibility.causal(pass, texts, 0);
    x = blocks.forward(pass, x, visible, (in, layer, s) -> listen(in, layer, s, states));
    pass.cache().advance(pass.virtualTokens() + texts.width() + pass.prefixLength());
    return norm(pass, base + "decoder.layer_norm", x);
  }

  private String key(int layer) {
    return WhisperModel.crossAttention(base, layer) + ".k_proj";
  }

  /**
   * The block in which a layer of the decoder attends to the encoder.
   *
   * @param states the encoder's; null when their keys and values are in the cache
   */
  private NDArray listen(Pass pass, int layer, NDArray x, @Nullable NDArray states) {
    String cross = WhisperModel.crossAttention(base, layer);
    NDArray normed = norm(pass, cross + "_layer_norm", x);
    NDArray q = pass.linear(frozen.linear(cross + ".q_proj"), normed);
    Tuning.KeyValue said = pass.cache().kept(key(layer));
    if (said == null) {
      NDArray heard = Objects.requireNonNull(states);
      said = pass.memory(frozen.linear(key(layer)), frozen.linear(cross + ".v_proj"), heard);
    }
    NDArray heads = crossAttention.apply(q, said.keys(), said.values());
    NDArray out = pass.linear(frozen.linear(cross + ".out_proj"), heads);
    return pass.tuning().residual(cross + ".out_proj", x, out);
  }

  @Override
  public NDArray features(Pass pass, NDArray hidden, ModelInput input) {
    return switch (head.kind()) {
      case SEQUENCE, MEAN -> hidden.mean(new int[] {1});
      case LANGUAGE, TOKEN -> hidden;
      case NONE ->
          input instanceof TranscriptBatch both
              ? Pooling.mean(pass, hidden, both.texts())
              : hidden.mean(new int[] {1});
    };
  }

  @Override
  public NDArray logits(NDArray features, Tuning tuning) {
    HeadLayers layers = new HeadLayers(frozen, tuning);
    return switch (head.kind()) {
      case NONE -> throw new IllegalStateException("the model was loaded without a head");
      case LANGUAGE, TOKEN -> layers.linear(WhisperModel.OUTPUT, features);
      case SEQUENCE ->
          layers.linear(WhisperModel.CLASSIFIER, layers.linear(WhisperModel.PROJECTOR, features));
      case MEAN -> layers.linear(WhisperModel.CLASSIFIER, features);
    };
  }

  @Override
  public void close() {
    encoder.close();
    decoder.ifPresent(TransformerBlocks::close);
    crossAttention.close();
  }
}
