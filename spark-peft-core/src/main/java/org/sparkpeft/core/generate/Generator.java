package org.sparkpeft.core.generate;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.function.Function;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.model.Backbone;
import org.sparkpeft.core.model.ModelSizes;
import org.sparkpeft.core.model.TokenBatch;
import org.sparkpeft.core.model.Tuning;
import org.sparkpeft.core.random.Philox;

/**
 * Continues prompts with a model that has a language head; of an encoder-decoder, the encoder reads
 * the prompts and the decoder starts from {@code decoder_start_token_id}. What is generated for a
 * prompt depends on the prompt and the settings, its seed among them, but not on the prompts beside
 * it, up to rounding; so the same prompt gives the same text, and {@code num_return_sequences}
 * several. Immutable.
 */
public final class Generator {
  private static final int BATCH = 16;

  private final Backbone model;
  private final ComputeDevice device;
  private final int batchSize;
  private final boolean cached;
  private final Optional<Function<int[], String>> decoder;

  /**
   * @throws IllegalArgumentException if the model has no language head
   */
  public Generator(Backbone model, ComputeDevice device) {
    this(model, device, BATCH, true, Optional.empty());
  }

  private Generator(
      Backbone model,
      ComputeDevice device,
      int batchSize,
      boolean cached,
      Optional<Function<int[], String>> decoder) {
    if (model.modules().structure().output().isEmpty()) {
      throw new IllegalArgumentException("the model was loaded without a language head");
    }
    this.model = model;
    this.device = device;
    this.batchSize = batchSize;
    this.cached = cached;
    this.decoder = decoder;
  }

  /** Reads so many prompts at once; default 16. */
  public Generator withBatchSize(int prompts) {
    if (prompts < 1) {
      throw new IllegalArgumentException("batch size must be at least 1, got " + prompts);
    }
    return new Generator(model, device, prompts, cached, decoder);
  }

  /** Reads all tokens again for each new one: slow, for comparison. */
  public Generator withoutCache() {
    return new Generator(model, device, batchSize, false, decoder);
  }

  /**
   * Turns tokens into text, which stop strings need.
   *
   * @param decode text of a sequence of tokens
   */
  public Generator withDecoder(Function<int[], String> decode) {
    return new Generator(model, device, batchSize, cached, Optional.of(decode));
  }

  /**
   * Continues prompts.
   *
   * @param prompts token ids, none empty
   * @param tuning what a task trained, or {@link Tuning#NONE}; its tensors must live on
   * @return for each prompt, {@code num_return_sequences} texts, of a beam search the best first
   *     (fewer where the vocabulary has no more)
   * @throws ConfigException if a setting does not fit the model or the prompts
   */
  public List<List<Generated>> generate(
      List<int[]> prompts, GenerationConfig config, Tuning tuning) {
    check(config);
    device.bindThread();
    List<List<Generated>> all = new ArrayList<>();
    for (int from = 0; from < prompts.size(); from += batchSize) {
      List<int[]> some = prompts.subList(from, Math.min(prompts.size(), from + batchSize));
      all.addAll(batch(some, config, tuning));
    }
    return all;
  }

  private List<List<Generated>> batch(List<int[]> prompts, GenerationConfig config, Tuning tuning) {
    int pad = config.tokens().pad().orElse(model.config().padId());
    List<int[]> texts = prompts;
    Optional<TokenBatch> source = Optional.empty();
    if (model.isEncoderDecoder()) {
      source = Optional.of(TokenBatch.of(prompts, pad));
      int[] start = {config.tokens().decoderStart().orElseThrow()};
      texts = prompts.stream().map(prompt -> start).toList();
    }
    List<LogitsProcessor.Text> started = new ArrayList<>();
    for (int[] text : texts) {
      int budget = config.length().budget(text.length);
      requireFits(text.length, budget, tuning);
      started.add(new LogitsProcessor.Text(text, text.length, budget));
    }
    List<LogitsProcessor> rules = Rules.of(config, model.isEncoderDecoder());
    Ending ending = new Ending(config, decoder.orElse(tokens -> ""));
    try (Decoding decoding = new Decoding(model, tuning, device, pad, source, texts, cached)) {
      return config.beams().numBeams() > 1
          ? new BeamSearch(config, rules, ending).run(decoding, started)
          : new Choosing(config, rules, ending).run(decoding, started, numbers(prompts));
    }
  }

  private static long[] numbers(List<int[]> prompts) {
    return prompts.stream().mapToLong(prompt -> Philox.hash(Arrays.toString(prompt))).toArray();
  }

  private void requireFits(int prompt, int budget, Tuning tuning) {
    int virtual = model.isEncoderDecoder() ? 0 : tuning.virtualTokens();
    long read = (long) tuning.prefixLength() + virtual + prompt + budget - 1;
    int most = model.config().maxTokens();
    if (read > most) {
      throw new ConfigException(
          "generation.max_new_tokens",
          budget
              + " new tokens after a prompt of "
              + prompt
              + " need "
              + read
              + " positions; the model has "
              + most);
    }
  }

  private void check(GenerationConfig config) {
    if (!config.stopStrings().isEmpty() && decoder.isEmpty()) {
      throw new ConfigException(
          "generation.stop_strings", "need a tokenizer that turns tokens into text");
    }
    GenerationConfig.Tokens tokens = config.tokens();
    if (model.isEncoderDecoder() && tokens.decoderStart().isEmpty()) {
      throw new ConfigException(
          "generation.decoder_start_token_id", "is missing; an encoder-decoder needs it");
    }
    ModelSizes sizes = model.config();
    List<Integer> ids = new ArrayList<>(tokens.eos());
    ids.addAll(tokens.forcedEos());
    ids.addAll(tokens.suppress());
    ids.addAll(tokens.beginSuppress());
    tokens.decoderStart().ifPresent(ids::add);
    tokens.forcedBos().ifPresent(ids::add);
    for (int id : ids) {
      if (id >= sizes.vocabulary()) {
        throw new ConfigException(
            "generation",
            "token id " + id + " is not in the model's vocabulary of " + sizes.vocabulary());
      }
    }
  }
}
