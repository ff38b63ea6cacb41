package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;

/** What one architecture computes over its frozen layers. Immutable; used by several threads. */
interface Network extends AutoCloseable {

  /** See {@link Backbone#forward}. */
  NDArray hidden(Pass pass, ModelInput input);

  /** See {@link Backbone#read}. */
  default NDArray read(Pass pass, ModelInput input) {
    return features(pass, hidden(pass, input), input);
  }

  /** See {@link Backbone#features}. */
  NDArray features(Pass pass, NDArray hidden, ModelInput input);

  /** See {@link Backbone#logits}. */
  NDArray logits(NDArray features, Tuning tuning);

  @Override
  void close();

  /** What the decoder of an encoder-decoder reads. */
  static TokenBatch target(TokenBatch batch) {
    return batch
        .target()
        .orElseThrow(
            () ->
                new IllegalArgumentException(
                    "the model has an encoder and a decoder; the batch lacks the decoder's tokens"));
  }

  /** The input as tokens. */
  static TokenBatch tokens(ModelInput input) {
    if (input instanceof TokenBatch tokens) {
      return tokens;
    }
    throw new IllegalArgumentException(
        "the model reads tokens, got " + input.getClass().getSimpleName());
  }

  /** The input as images. */
  static PixelBatch pixels(ModelInput input) {
    if (input instanceof PixelBatch pixels) {
      return pixels;
    }
    throw new IllegalArgumentException(
        "the model reads images, got " + input.getClass().getSimpleName());
  }

  /** The input as recordings of one length. */
  static FrameBatch frames(ModelInput input) {
    if (input instanceof FrameBatch frames) {
      return frames;
    }
    throw new IllegalArgumentException(
        "the model reads frames of features, got " + input.getClass().getSimpleName());
  }

  /** The input as recordings of any lengths. */
  static WaveBatch waves(ModelInput input) {
    if (input instanceof WaveBatch waves) {
      return waves;
    }
    throw new IllegalArgumentException(
        "the model reads samples, got " + input.getClass().getSimpleName());
  }
}
