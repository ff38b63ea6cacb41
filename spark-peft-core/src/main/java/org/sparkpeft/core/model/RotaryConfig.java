package org.sparkpeft.core.model;

import ai.djl.ndarray.NDManager;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.nn.Rotary;

/**
 * Rotary positions as a model's configuration describes them: in {@code rope_parameters}, or, as
 * before transformers 5, in {@code rope_theta} and {@code rope_scaling}.
 *
 * @param size entries of a head that turn, its first ones
 * @param theta base of the frequencies
 * @param scaling how they change with the length
 */
record RotaryConfig(int size, double theta, RotaryScaling scaling) {
  private static final String TRAINED = "original_max_position_embeddings";

  /**
   * Whole heads turn. As in transformers 5, {@code partial_rotary_factor} has no effect on such a
   * model, unless frequencies are scaled, where it has no meaning.
   *
   * @param headSize entries of a head
   * @param positions longest sequence the model was made for
   * @throws FormatException naming a setting that is not supported
   */
  static RotaryConfig of(ModelConfig config, int headSize, int positions) {
    RotaryConfig rotary = read(config, headSize, positions);
    if (!(rotary.scaling instanceof RotaryScaling.Plain) && share(config, 1) != 1) {
      throw config.error("partial_rotary_factor must be 1 where whole heads turn");
    }
    return rotary;
  }

  /**
   * The first entries of each head turn.
   *
   * @param usual part of a head, unless the configuration has it
   * @throws FormatException naming a setting that is not supported
   */
  static RotaryConfig partial(ModelConfig config, int headSize, int positions, double usual) {
    int size = (int) (headSize * share(config, usual));
    if (size > headSize || size < 2 || size % 2 != 0) {
      throw config.error(
          "rotary positions turn "
              + size
              + " entries of a head of "
              + headSize
              + "; partial_rotary_factor must make that an even number from 2 on");
    }
    return read(config, size, positions);
  }

  private static ModelConfig rope(ModelConfig config) {
    return config.has("rope_parameters") ? config.child("rope_parameters") : config;
  }

  private static double share(ModelConfig config, double usual) {
    double older = config.positive("rotary_pct", usual);
    String key = "partial_rotary_factor";
    return rope(config).positive(key, config.positive(key, older));
  }

  private static RotaryConfig read(ModelConfig config, int size, int positions) {
    ModelConfig rope = rope(config);
    rope.only("full_attention", List.of()); // settings for each kind of layer
    rope.only("sliding_attention", List.of());
    double theta = rope.positive("rope_theta", config.positive("rotary_emb_base", 10_000));
    ModelConfig scaling = config.has("rope_scaling") ? config.child("rope_scaling") : rope;
    return new RotaryConfig(size, theta, scaling(config, scaling, size, positions));
  }

  private static RotaryScaling scaling(
      ModelConfig config, ModelConfig rope, int size, int positions) {
    String type = rope.text("rope_type", rope.text("type", ""));
    int trained = rope.count(TRAINED, config.count(TRAINED, positions));
    return switch (type) {
      case "", "default" -> {
        rope.only("factor", List.of()); // a factor without a type
        yield new RotaryScaling.Plain();
      }
      case "linear" -> new RotaryScaling.Linear(factor(rope));
      case "dynamic" -> {
        if (size <= 2) {
          throw config.error("dynamic rotary positions need heads that turn more than 2 entries");
        }
        yield new RotaryScaling.Dynamic(factor(rope), positions);
      }
      case "llama3" -> llama3(rope, trained);
      case "yarn" -> yarn(rope, positions, trained);
      case "longrope", "su" -> longRope(rope, size, positions, trained);
      default ->
          throw rope.error(
              "rope_type \""
                  + type
                  + "\" is not supported; known are default, linear, dynamic,"
                  + " llama3, yarn, longrope");
    };
  }

  private static double factor(ModelConfig rope) {
    if (!rope.has("factor")) {
      throw rope.error("factor must be a number above 0, got nothing");
    }
    return rope.positive("factor", 1);
  }

  private static RotaryScaling llama3(ModelConfig rope, int trained) {
    double low = rope.positive("low_freq_factor", 1);
    double high = rope.positive("high_freq_factor", 4);
    if (low >= high) {
      throw rope.error("low_freq_factor " + low + " must be below high_freq_factor " + high);
    }
    return new RotaryScaling.Llama3(factor(rope), low, high, trained);
  }

  private static RotaryScaling yarn(ModelConfig rope, int positions, int trained) {
    double factor = rope.positive("factor", (double) positions / trained);
    double attention = RotaryScaling.Yarn.attention(factor, 1);
    if (rope.has("mscale") && rope.has("mscale_all_dim")) {
      attention =
          RotaryScaling.Yarn.attention(factor, rope.positive("mscale", 1))
              / RotaryScaling.Yarn.attention(factor, rope.positive("mscale_all_dim", 1));
    }
    return new RotaryScaling.Yarn(
        factor,
        (float) rope.positive("attention_factor", attention),
        rope.positive("beta_fast", 32),
        rope.positive("beta_slow", 1),
        rope.flag("truncate", true),
        trained);
  }

  private static RotaryScaling longRope(ModelConfig rope, int size, int positions, int trained) {
    double factor = rope.positive("factor", (double) positions / trained);
    double attention = factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(trained));
    return new RotaryScaling.LongRope(
        divisors(rope, "short_factor", size),
        divisors(rope, "long_factor", size),
        (float) rope.positive("attention_factor", attention),
        trained);
  }

  private static List<Float> divisors(ModelConfig rope, String key, int size) {
    List<Float> divisors = new ArrayList<>();
    for (float divisor : rope.numbers(key)) {
      divisors.add(divisor);
    }
    if (divisors.size() != size / 2 || divisors.stream().anyMatch(d -> !(d > 0))) {
      throw rope.error(
          key
              + " must be "
              + size / 2
              + " numbers above 0, one for each pair of a head that turns,"
              + " got "
              + divisors);
    }
    return divisors;
  }

  /** Angles of the given positions, {@code [1 or batch][seq]}. */
  Rotary at(NDManager step, int[][] positions) {
    int length = 1 + Arrays.stream(positions).flatMapToInt(Arrays::stream).max().orElse(0);
    return Rotary.of(
        step, positions, scaling.frequencies(size, theta, length), scaling.attention());
  }
}
