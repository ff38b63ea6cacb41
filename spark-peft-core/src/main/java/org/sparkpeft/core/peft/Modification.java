package org.sparkpeft.core.peft;

import ai.djl.ndarray.NDArray;
import java.util.function.UnaryOperator;
import org.sparkpeft.core.engine.ElementwiseKernels;
import org.sparkpeft.core.engine.Scalars;
import org.sparkpeft.core.nn.Embedding;
import org.sparkpeft.core.nn.Linear;
import org.sparkpeft.core.nn.Norm;

/**
 * One place at which a method acts, for one step: a position, an insertion form and a function.
 * Every method is a list of these. Several may act on one layer; each wraps those before it, and
 * the innermost is the frozen layer.
 */
public sealed interface Modification {

  /** Hugging Face's path of the layer acted on; empty for the input. */
  String path();

  Insertion insertion();

  /**
   * The same modification at a strength other than 1: {@code h + weight (changed(h) - h)}. What is
   * below runs once for both terms where the change calls it with its own input, so that several on
   * one layer do not double its cost each.
   *
   * @throws IllegalArgumentException if it has no such strength
   */
  Modification weighted(float weight);

  // ---------------------------------------------------------------- linear layers

  /** What is below a modification: input {@code [..., in]} to output {@code [..., out]}. */
  @FunctionalInterface
  interface LinearForward {
    NDArray apply(Linear layer, NDArray x);
  }

  /** A changed linear layer. */
  @FunctionalInterface
  interface LinearChange {
    /**
     * @param below what to call, with this layer or one with other tensors
     * @return {@code [..., out]}
     */
    NDArray apply(LinearForward below, Linear layer, NDArray x);
  }

  /** Acts on a linear layer. */
  record OnLinear(String path, Insertion insertion, LinearChange change) implements Modification {
    @Override
    public Modification weighted(float weight) {
      return new OnLinear(
          path,
          insertion,
          (below, layer, x) -> {
            NDArray plain = below.apply(layer, x);
            LinearForward once =
                (l, v) ->
                    same(l, layer) && same(v, x)
                        ? ElementwiseKernels.copy(plain)
                        : below.apply(l, v);
            return mix(plain, change.apply(once, layer, x), weight);
          });
    }
  }

  /** {@code h + delta(x)}. */
  static Modification parallel(String path, UnaryOperator<NDArray> delta) {
    return new OnLinear(
        path, Insertion.PARALLEL, (below, layer, x) -> below.apply(layer, x).addi(delta.apply(x)));
  }

  /** {@code map(h)}. */
  static Modification sequential(String path, UnaryOperator<NDArray> map) {
    return new OnLinear(
        path, Insertion.SEQUENTIAL, (below, layer, x) -> map.apply(below.apply(layer, x)));
  }

  /** {@code scale * h} with {@code scale [out]}. */
  static Modification scaledOutput(String path, NDArray scale) {
    return new OnLinear(
        path, Insertion.SCALED, (below, layer, x) -> below.apply(layer, x).mul(scale));
  }

  /** The layer on {@code scale * x} with {@code scale [in]}. */
  static Modification scaledInput(String path, NDArray scale) {
    return new OnLinear(
        path, Insertion.SCALED, (below, layer, x) -> below.apply(layer, x.mul(scale)));
  }

  /** The layer with another weight {@code [out, in]}, made from its own. */
  static Modification weight(String path, UnaryOperator<NDArray> change) {
    return new OnLinear(
        path,
        Insertion.WEIGHT,
        (below, layer, x) ->
            below.apply(
                new Linear(path, change.apply(layer.weight().full(x.getManager())), layer.bias()),
                x));
  }

  // ---------------------------------------------------------------- embeddings and norms

  /** What is below: ids {@code [batch, seq]} to rows {@code [batch, seq, size]}. */
  @FunctionalInterface
  interface EmbeddingForward {
    NDArray apply(Embedding layer, NDArray ids);
  }

  /** A changed lookup. */
  @FunctionalInterface
  interface EmbeddingChange {
    NDArray apply(EmbeddingForward below, Embedding layer, NDArray ids);
  }

  /** Acts on an embedding table. */
  record OnEmbedding(String path, Insertion insertion, EmbeddingChange change)
      implements Modification {
    @Override
    public Modification weighted(float weight) {
      return new OnEmbedding(
          path,
          insertion,
          (below, layer, ids) -> {
            NDArray plain = below.apply(layer, ids);
            EmbeddingForward once =
                (l, v) ->
                    same(l, layer) && same(v, ids)
                        ? ElementwiseKernels.copy(plain)
                        : below.apply(l, v);
            return mix(plain, change.apply(once, layer, ids), weight);
          });
    }
  }

  /** What is below: {@code [..., size]} to the same shape. */
  @FunctionalInterface
  interface NormForward {
    NDArray apply(Norm layer, NDArray x);
  }

  /** A changed norm. */
  @FunctionalInterface
  interface NormChange {
    NDArray apply(NormForward below, Norm layer, NDArray x);
  }

  /** Acts on a layer norm. */
  record OnNorm(String path, Insertion insertion, NormChange change) implements Modification {
    @Override
    public Modification weighted(float weight) {
      return new OnNorm(
          path,
          insertion,
          (below, layer, x) -> {
            NDArray plain = below.apply(layer, x);
            NormForward once =
                (l, v) ->
                    same(l, layer) && same(v, x)
                        ? ElementwiseKernels.copy(plain)
                        : below.apply(l, v);
            return mix(plain, change.apply(once, layer, x), weight);
          });
    }
  }

  /** Acts on a tensor that belongs to no layer. */
  record OnTensor(String path, Insertion insertion, UnaryOperator<NDArray> change)
      implements Modification {
    @Override
    public Modification weighted(float weight) {
      return new OnTensor(path, insertion, value -> mix(value, change.apply(value), weight));
    }
  }

  // ---------------------------------------------------------------- blocks

  /** What is below: a block's input and output to what follows its residual connection. */
  @FunctionalInterface
  interface ResidualForward {
    /**
     * @param input the residual stream before the block, {@code [batch, seq, hidden]}
     * @param output the block's output, same shape
     * @return the norm of their sum where the layer normalises there, else the sum
     */
    NDArray apply(NDArray input, NDArray output);
  }

  /** A changed residual connection. */
  @FunctionalInterface
  interface ResidualChange {
    /**
     * @param below the residual connection as it is: {@code LN(input + output)}
     */
    NDArray apply(ResidualForward below, NDArray input, NDArray output);
  }

  /**
   * Acts where an attention or feed-forward block joins the residual stream.
   *
   * @param path path of the block's last linear layer
   */
  record OnResidual(String path, Insertion insertion, ResidualChange change)
      implements Modification {
    @Override
    public Modification weighted(float weight) {
      return new OnResidual(
          path,
          insertion,
          (below, input, output) -> {
            NDArray plain = below.apply(input, output);
            ResidualForward once =
                (i, o) ->
                    same(i, input) && same(o, output)
                        ? ElementwiseKernels.copy(plain)
                        : below.apply(i, o);
            return mix(plain, change.apply(once, input, output), weight);
          });
    }
  }

  // ---------------------------------------------------------------- attention

  /** A change of what the heads of an attention block found. */
  @FunctionalInterface
  interface AttentionChange {
    /**
     * @param key the block's key projection
     * @param value the block's value projection
     * @param query queries {@code [batch, seq, heads * headSize]}
     * @param heads what each query found, same shape
     */
    NDArray apply(Linear key, Linear value, NDArray query, NDArray heads);
  }

  /**
   * Acts on the heads of an attention block before its output projection.
   *
   * @param path path of the block's key projection
   */
  record OnAttention(String path, AttentionChange change) implements Modification {
    @Override
    public Insertion insertion() {
      return Insertion.PARALLEL;
    }

    @Override
    public Modification weighted(float weight) {
      return new OnAttention(
          path,
          (key, value, query, heads) -> mix(heads, change.apply(key, value, query, heads), weight));
    }
  }

  // ---------------------------------------------------------------- prepended vectors

  /**
   * Keys and values in front of those of an attention block.
   *
   * @param path path of the block's key projection
   * @param keys {@code [n, hidden]}; every attention block must get the same n
   * @param values {@code [n, hidden]}
   */
  record Prefix(String path, NDArray keys, NDArray values) implements Modification {
    @Override
    public Insertion insertion() {
      return Insertion.PREPENDED;
    }

    @Override
    public Modification weighted(float weight) {
      return unweighted(this, weight);
    }
  }

  /**
   * Virtual tokens in front of the word embeddings.
   *
   * @param tokens {@code [n, size]}
   */
  record Prompt(NDArray tokens) implements Modification {
    @Override
    public String path() {
      return "";
    }

    @Override
    public Insertion insertion() {
      return Insertion.PREPENDED;
    }

    @Override
    public Modification weighted(float weight) {
      return unweighted(this, weight);
    }
  }

  private static Modification unweighted(Modification same, float weight) {
    if (weight != 1) {
      throw new IllegalArgumentException(
          "prepended vectors are there or not; weight " + weight + " means nothing for them");
    }
    return same;
  }

  @SuppressWarnings("ReferenceEquality") // The very input; comparing contents would cost more.
  private static boolean same(Object one, Object other) {
    return one == other;
  }

  private static NDArray mix(NDArray plain, NDArray changed, float weight) {
    return plain.add(Scalars.times(changed.sub(plain), weight));
  }
}
