package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import java.util.Optional;
import org.sparkpeft.core.nn.Embedding;
import org.sparkpeft.core.nn.Linear;
import org.sparkpeft.core.nn.Norm;

/**
 * A task's view of an adapter: the places in a forward pass at which a parameter-efficient method
 * can act. The defaults leave the base as it is. An instance belongs to one step of one task; the
 * model's weights are shared and must not be changed.
 */
public interface Tuning {
  /** The untouched base. */
  Tuning NONE = new Tuning() {};

  /**
   * A linear layer.
   *
   * @param layer frozen weights and path
   * @param x input {@code [..., in]}
   * @return output {@code [..., out]}
   */
  default NDArray linear(Linear layer, NDArray x) {
    return layer.apply(x);
  }

  /**
   * A lookup in an embedding table.
   *
   * @param ids integers {@code [batch, seq]}
   * @return {@code [batch, seq, size]}
   */
  default NDArray embedding(Embedding layer, NDArray ids) {
    return layer.apply(ids);
  }

  /** A layer norm; {@code x} and the result are {@code [..., size]}. */
  default NDArray layerNorm(Norm layer, NDArray x) {
    return layer.apply(x);
  }

  /**
   * The residual connection around an attention or feed-forward block of a layer that normalises
   * after the addition.
   *
   * @param path path of the block's last linear layer
   * @param norm the norm after the addition
   * @param input the block's input {@code [batch, seq, hidden]}
   * @param output the block's output, same shape
   * @return the norm of their sum
   */
  default NDArray residual(String path, Norm norm, NDArray input, NDArray output) {
    return layerNorm(norm, output.add(input));
  }

  /**
   * The residual connection around a block of a layer that normalises before the block.
   *
   * @param path path of the block's last linear layer
   * @param input the residual stream before the block {@code [batch, seq, hidden]}
   * @param output the block's output, same shape
   * @return their sum
   */
  default NDArray residual(String path, NDArray input, NDArray output) {
    return output.add(input);
  }

  /**
   * A tensor that belongs to no layer, such as a class token.
   *
   * @param path its name
   * @return a tensor of the same shape, owned by {@code step}
   */
  default NDArray tensor(NDManager step, String path, NDArray value) {
    NDArray own = value.duplicate();
    own.attach(step);
    return own;
  }

  /**
   * What the heads of an attention block found, before they are joined by its output projection.
   *
   * @param key the block's key projection
   * @param value the block's value projection
   * @param query queries {@code [batch, seq, heads * headSize]}, rotated where the model does that
   * @param heads what each query found, same shape
   */
  default NDArray attended(Linear key, Linear value, NDArray query, NDArray heads) {
    return heads;
  }

  /** Number of virtual tokens that {@link #inputEmbeddings} puts in front. */
  default int virtualTokens() {
    return 0;
  }

  /**
   * The word embeddings, before positions are added.
   *
   * @param embedded {@code [batch, seq, size]}
   * @return {@code [batch, virtualTokens + seq, size]}
   */
  default NDArray inputEmbeddings(NDArray embedded) {
    return embedded;
  }

  /** Number of keys that {@link #prefix} puts in front in each attention; positions start there. */
  default int prefixLength() {
    return 0;
  }

  /**
   * Keys and values to put in front of those of an attention block.
   *
   * @param path path of the block's key projection
   * @param batch number of examples
   */
  default Optional<KeyValue> prefix(String path, long batch) {
    return Optional.empty();
  }

  /**
   * @param keys {@code [batch, prefixLength, hidden]}
   * @param values {@code [batch, prefixLength, hidden]}
   */
  record KeyValue(NDArray keys, NDArray values) {}
}
