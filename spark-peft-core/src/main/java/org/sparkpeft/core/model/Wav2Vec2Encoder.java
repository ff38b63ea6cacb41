package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.index.NDIndex;
import ai.djl.ndarray.types.Shape;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.nn.Convolution;
import org.sparkpeft.core.nn.Linear;
import org.sparkpeft.core.nn.Norm;
import org.sparkpeft.core.nn.TimeNorm;

/** What a {@link Wav2Vec2Model} computes. */
final class Wav2Vec2Encoder implements Network {
  /** PyTorch's own, whatever the model's is. */
  private static final float GROUP_EPSILON = 1e-5f;

  private final Wav2Vec2Model config;
  private final HeadConfig head;
  private final FrozenLayers frozen;
  private final String base;
  private final List<Linear> convolutions = new ArrayList<>();
  private final Norm firstNorm;
  private final Norm projectionNorm;
  private final Linear projection;
  private final Norm encoderNorm;
  private final TransformerBlocks blocks;

  Wav2Vec2Encoder(Wav2Vec2Model config, HeadConfig head, FrozenLayers frozen, NDManager manager) {
    this.config = config;
    this.head = head;
    this.frozen = frozen;
    this.base = config.path(head);
    for (int i = 0; i < config.channels().size(); i++) {
      convolutions.add(frozen.linear(Wav2Vec2Model.convolution(base, i) + "conv"));
    }
    String norm = Wav2Vec2Model.convolution(base, 0) + "layer_norm";
    this.firstNorm =
        new TimeNorm(norm, frozen.weight(norm), frozen.tensor(norm + ".bias"), GROUP_EPSILON);
    float epsilon = config.blocks().epsilon();
    this.projectionNorm = frozen.layerNorm(base + "feature_projection.layer_norm", epsilon);
    this.projection = frozen.linear(base + "feature_projection.projection");
    this.encoderNorm = frozen.layerNorm(base + "encoder.layer_norm", epsilon);
    this.blocks =
        new TransformerBlocks(config.blocks(), EncoderNames.wav2Vec2(), base, frozen, manager);
  }

  @Override
  public NDArray hidden(Pass pass, ModelInput input) {
    WaveBatch batch = Network.waves(input);
    int[] lengths = lengths(batch);
    NDArray x = pass.linear(projection, pass.norm(projectionNorm, frames(pass, batch)));
    if (batch.isPadded()) {
      x = x.mul(shares(pass, batch, lengths, 0, false)); // zeros in place of padding
    }
    x = pass.norm(encoderNorm, x.add(places(pass, x)));
    x = pass.tuning().inputEmbeddings(x); // [batch, virtual tokens + frames, hidden]
    return blocks.forward(pass, x, visible(pass, batch, lengths));
  }

  /** {@code [batch, frames, channels]}. */
  private NDArray frames(Pass pass, WaveBatch batch) {
    NDArray x = pass.step().create(batch.flat(), new Shape(batch.size(), batch.samples(), 1));
    for (int i = 0; i < convolutions.size(); i++) {
      int stride = config.strides().get(i);
      NDArray windows = Convolution.unfold(x, config.kernels().get(i), stride);
      x = pass.linear(convolutions.get(i), windows);
      x = i == 0 ? pass.norm(firstNorm, x) : x;
      x = config.convolutionActivation().apply(x);
    }
    return x;
  }

  /** What each position's neighbours say of it, {@code [batch, frames, hidden]}. */
  private NDArray places(Pass pass, NDArray x) {
    NDArray directions = tensor(pass, Wav2Vec2Model.placeDirections(base)); // [out, in, size]
    NDArray norms = directions.square().sum(new int[] {0, 1}, true).sqrt(); // [1, 1, size]
    NDArray lengths = tensor(pass, Wav2Vec2Model.placeLengths(base));
    NDArray weight = directions.mul(lengths.div(norms));
    NDArray bias = tensor(pass, Wav2Vec2Model.places(base) + "bias");
    NDArray around = Convolution.grouped(x, weight, bias, config.placeGroups());
    NDArray same =
        config.placeSize() % 2 == 0
            ? around.get(new NDIndex(":, :{}", x.getShape().get(1)))
            : around;
    return config.convolutionActivation().apply(same);
  }

  private NDArray tensor(Pass pass, String path) {
    return pass.tuning().tensor(pass.step(), path, frozen.tensor(path));
  }

  /** Frames of each recording without padding. */
  private int[] lengths(WaveBatch batch) {
    int[] lengths = new int[batch.size()];
    for (int row = 0; row < lengths.length; row++) {
      lengths[row] = config.frames(batch.samples(row));
      if (lengths[row] == 0) {
        throw new DataException(
            "recording %d has %d samples, too few for one frame; leave it out or pad it"
                .formatted(row, batch.samples(row)));
      }
    }
    return lengths;
  }

  private Visibility visible(Pass pass, WaveBatch batch, int[] lengths) {
    if (!batch.isPadded()) {
      return Visibility.ALL;
    }
    int before = pass.prefixLength() + pass.virtualTokens();
    int keys = before + config.frames(batch.samples());
    float[] mask = new float[batch.size() * keys];
    for (int row = 0; row < batch.size(); row++) {
      int from = row * keys + before + lengths[row];
      Arrays.fill(mask, from, (row + 1) * keys, Visibility.HIDDEN);
    }
    Shape shape = new Shape(batch.size(), 1, 1, keys);
    return new Visibility(pass.step().create(mask, shape), false);
  }

  /** 1 for each frame that is no padding, or its share in the mean; {@code [batch, frames, 1]}. */
  private NDArray shares(Pass pass, WaveBatch batch, int[] lengths, int virtual, boolean mean) {
    int width = virtual + config.frames(batch.samples());
    float[] shares = new float[batch.size() * width];
    for (int row = 0; row < batch.size(); row++) {
      int from = row * width + virtual;
      Arrays.fill(shares, from, from + lengths[row], mean ? 1f / lengths[row] : 1);
    }
    return pass.step().create(shares, new Shape(batch.size(), width, 1));
  }

  /** The mean over a recording's frames: that of the projected frames is its projection. */
  @Override
  public NDArray features(Pass pass, NDArray hidden, ModelInput input) {
    WaveBatch batch = Network.waves(input);
    NDArray shares = shares(pass, batch, lengths(batch), pass.virtualTokens(), true);
    return hidden.mul(shares).sum(new int[] {1});
  }

  @Override
  public NDArray logits(NDArray features, Tuning tuning) {
    HeadLayers layers = new HeadLayers(frozen, tuning);
    return switch (head.kind()) {
      case NONE -> throw new IllegalStateException("the model was loaded without a head");
      case SEQUENCE ->
          layers.linear(Wav2Vec2Model.CLASSIFIER, layers.linear(Wav2Vec2Model.PROJECTOR, features));
      case MEAN, TOKEN, LANGUAGE -> layers.linear(Wav2Vec2Model.CLASSIFIER, features);
    };
  }

  @Override
  public void close() {
    blocks.close();
  }
}
