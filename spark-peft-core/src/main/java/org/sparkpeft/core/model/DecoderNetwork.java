package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import org.sparkpeft.core.engine.AttentionKernel;
import org.sparkpeft.core.nn.Embedding;

/** What decoders have in common around their layers. */
abstract class DecoderNetwork implements Network {
  private final DecoderHead head;
  private final AttentionKernel attention;

  DecoderNetwork(DecoderHead head, AttentionKernel.Form form, NDManager manager) {
    this.head = head;
    this.attention = new AttentionKernel(manager, form);
  }

  /** The states after the last layer and its norm, {@code [batch, seq, hidden]}. */
  abstract NDArray read(Pass pass, TokenBatch batch);

  @Override
  public final NDArray hidden(Pass pass, ModelInput input) {
    TokenBatch batch = Network.tokens(input);
    NDArray states = read(pass, batch);
    pass.cache().advance(pass.virtualTokens() + batch.width() + pass.prefixLength());
    return states;
  }

  /** Word embeddings, {@code [batch, seq, hidden]}. */
  static NDArray embedded(Pass pass, Embedding words, TokenBatch batch) {
    NDArray ids = pass.step().create(batch.flatIds(), new Shape(batch.size(), batch.width()));
    return pass.embedded(words, ids);
  }

  /** Attention to the visible keys. */
  final NDArray attend(Visibility visible, NDArray query, Tuning.KeyValue past) {
    return visible.attend(attention, query, past);
  }

  @Override
  public NDArray features(Pass pass, NDArray hidden, ModelInput input) {
    return head.features(pass, hidden, Network.tokens(input));
  }

  @Override
  public NDArray logits(NDArray features, Tuning tuning) {
    return head.logits(features, tuning);
  }

  @Override
  public void close() {
    attention.close();
  }
}
