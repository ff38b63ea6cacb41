package org.sparkpeft.merge.compress;

import java.util.Optional;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.random.Philox;

/**
 * A codec as sparsifier, quantiser and coder, each chosen alone, written as {@code
 * topk(0.1)|ternary(mean)|rice}. The sparsifier may be left out (everything is kept), and the coder
 * (the shortest is taken). Numbers are named or in order: {@code della(0.3, 0.1)}.
 *
 * <pre>
 * sparsifiers   all, topk(density[, tensor]), rowtopk(density), threshold(x), randomk(density),
 *               breadcrumbs(density, gamma), dare(density), della(density, epsilon)
 * quantisers    fp32, fp16, bf16, int8|int4|int2 as int8(nearest) or int8(stochastic),
 *               ternary(mean[, factor]), ternary(sigma[, factor]), ternary(stc[, factor]),
 *               sign(magnitude), qsgd(levels)
 * coders        auto, range, rans, rice, golomb, bitmask, base3, list
 * </pre>
 *
 * ternary's magnitude is factor times: mean, the mean magnitude of the kept values of each tensor;
 * sigma, the standard deviation of the whole vector before sparsifying (ComPEFT); stc, the mean
 * magnitude of all kept values (sparse ternary compression, and with {@code all} scaled sign
 * compression, where a zero counts as positive). Positions of {@code randomk} follow from the round
 * and are never sent.
 *
 * <p>The coder {@code range} learns as it goes, and rows or columns of different density make it
 * shorter still. It is several times as slow as the rest: of vectors of 131,072 entries and more,
 * {@code auto} takes it only if it is shorter by more than 5 %.
 */
public final class Pipeline {
  private final String text;
  private final Optional<Sparsifier> sparsifier;
  private final Optional<RandomK> randomK;
  private final Quantisation quantisation;
  private final Optional<PositionCoder> coder;

  /** Makes a quantiser for one update. */
  interface Quantisation {
    /**
     * Binds to an update.
     *
     * @param values the whole vector
     * @param kept what the sparsifier kept of it
     */
    Quantiser bind(float[] values, float[] kept, Philox random);
  }

  Pipeline(
      String text,
      Optional<Sparsifier> sparsifier,
      Optional<RandomK> randomK,
      Quantisation quantisation,
      Optional<PositionCoder> coder) {
    this.text = text;
    this.sparsifier = sparsifier;
    this.randomK = randomK;
    this.quantisation = quantisation;
    this.coder = coder;
  }

  /**
   * Reads a pipeline.
   *
   * @throws ConfigException naming the stage that is wrong and what is allowed
   */
  public static Pipeline parse(String text) {
    return PipelineParser.parse(text);
  }

  /** The pipeline of a configuration: its own text, or what its named codec stands for. */
  static Pipeline of(CodecConfig config) {
    return parse(config.pipeline().isEmpty() ? spelling(config) : config.pipeline());
  }

  private static String spelling(CodecConfig config) {
    String topK =
        "topk(" + config.density() + (config.selection().equals("tensor") ? ", tensor)" : ")");
    return switch (config.codec()) {
      case "compeft" -> topK + "|ternary(" + config.scale() + ", " + config.alpha() + ")";
      case "topk" -> topK + "|fp16";
      case "int8" -> "int8(" + config.rounding() + ")";
      case "fp16" -> "fp16";
      case "none" -> "fp32";
      default -> throw new IllegalStateException("no codec named " + config.codec());
    };
  }

  /** Empty when everything is kept, or when {@link #randomK} says what is. */
  Optional<Sparsifier> sparsifier() {
    return sparsifier;
  }

  Optional<RandomK> randomK() {
    return randomK;
  }

  Quantisation quantisation() {
    return quantisation;
  }

  /** Empty for the shortest. */
  Optional<PositionCoder> coder() {
    return coder;
  }

  @Override
  public String toString() {
    return text;
  }
}
