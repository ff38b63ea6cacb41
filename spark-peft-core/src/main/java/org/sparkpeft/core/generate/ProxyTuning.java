package org.sparkpeft.core.generate;

import java.util.List;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.model.Backbone;
import org.sparkpeft.core.model.Tuning;

/**
 * Tunes a model while it generates, by what training did to a smaller one (proxy tuning, Liu et al.
 * 2024, arXiv:2401.08565): next-token logits are {@code base + alpha (expert - antiExpert)}, before
 * temperature and everything else that shapes the distribution. The three read the same tokens, so
 * ids must mean the same to all of them. With an adapter, expert and anti-expert are the same small
 * network with the adapter on and off.
 *
 * <p>Networks may round the size of their vocabulary up by different amounts: the rows of the small
 * ones that the base lacks are ignored, and an id that the base has beyond those of the small ones
 * is not generated.
 *
 * @param expert the small network as tuned
 * @param antiExpert the small network before that
 * @param alpha strength; 1 adds the whole difference, 0 is the base alone, to the last bit
 */
public record ProxyTuning(Network expert, Network antiExpert, double alpha) {

  /**
   * A network and what a task trained on it.
   *
   * @param tuning {@link Tuning#NONE} for nothing; its tensors must live on
   */
  public record Network(Backbone model, Tuning tuning) {
    public Network {
      requireHead(model);
    }
  }

  public ProxyTuning {
    if (!Double.isFinite(alpha)) {
      throw new ConfigException("proxy.alpha", "must be finite, got " + alpha);
    }
  }

  static void requireHead(Backbone model) {
    if (model.modules().structure().output().isEmpty()) {
      throw new IllegalArgumentException("the model was loaded without a language head");
    }
  }

  /** Whether the small networks make a difference. */
  boolean acts() {
    return alpha != 0;
  }

  /**
   * @throws ConfigException if one of the networks reads its input in another way than the base
   */
  void requireFits(Backbone base) {
    for (Network each : List.of(expert, antiExpert)) {
      if (each.model().isEncoderDecoder() != base.isEncoderDecoder()) {
        throw new ConfigException(
            "proxy",
            "the base and the networks beside it must all be decoders or all encoder-decoders");
      }
    }
  }

  /**
   * @throws ConfigException if a text has a token that one of the small networks lacks
   */
  void requireKnown(List<int[]> texts) {
    int known =
        Math.min(expert.model().config().vocabulary(), antiExpert.model().config().vocabulary());
    for (int[] text : texts) {
      for (int token : text) {
        if (token >= known) {
          throw new ConfigException(
              "proxy",
              "a prompt has token id %d; the smaller network knows %d tokens; use networks that share the base's tokenizer"
                  .formatted(token, known));
        }
      }
    }
  }

  /**
   * {@code base + alpha (expert - antiExpert)}, as long as the base's logits; minus infinity where
   * one of the others has none.
   */
  static float[] combine(float[] base, float[] expert, float[] antiExpert, double alpha) {
    float[] logits = new float[base.length];
    int shared = Math.min(expert.length, antiExpert.length);
    for (int i = 0; i < logits.length; i++) {
      logits[i] =
          i < shared
              ? (float) (base[i] + alpha * ((double) expert[i] - antiExpert[i]))
              : Float.NEGATIVE_INFINITY;
    }
    return logits;
  }
}
