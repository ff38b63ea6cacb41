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
  private final Optional<ProxyTuning> proxy;

  /**
   * @throws IllegalArgumentException if the model has no language head
   */
  public Generator(Backbone model, ComputeDevice device) {
    this(model, device, BATCH, true, Optional.empty(), Optional.empty());
  }

  private Generator(
      Backbone model,
      ComputeDevice device,
      int batchSize,
      boolean cached,
      Optional<Function<int[], String>> decoder,
      Optional<ProxyTuning> proxy) {
    ProxyTuning.requireHead(model);
    this.model = model;
    this.device = device;
    this.batchSize = batchSize;
    this.cached = cached;
    this.decoder = decoder;
    this.proxy = proxy;
  }

  /** Reads so many prompts at once; default 16. */
  public Generator withBatchSize(int prompts) {
    if (prompts < 1) {
      throw new IllegalArgumentException("batch size must be at least 1, got " + prompts);
    }
    return new Generator(model, device, prompts, cached, decoder, proxy);
  }

  /** Reads all tokens again for each new one: slow, for comparison. */
  public Generator withoutCache() {
    return new Generator(model, device, batchSize, false, decoder, proxy);
  }

  /**
   * Turns tokens into text, which stop strings need.
   *
   * @param decode text of a sequence of tokens
   */
  public Generator withDecoder(Function<int[], String> decode) {
    return new Generator(model, device, batchSize, cached, Optional.of(decode), proxy);
  }

  /**
   * Adds what training did to a smaller network to the logits of this one.
   *
   * @throws ConfigException if the networks do not fit together
   */
  public Generator withProxy(ProxyTuning tuning) {
    tuning.requireFits(model);
    return new Generator(
        model, device, batchSize, cached, decoder, Optional.of(tuning).filter(ProxyTuning::acts));
  }

  /**
   * Natural logarithms of the probabilities of given texts, token by token; the mean of their
   * negatives is the loss, its exponential the perplexity.
   *
   * @param texts token ids, each at least two
   * @param tuning as for {@link #generate}
   * @return for each text, one number for each token from the second on
   * @throws ConfigException if the model is no decoder or a text does not fit it
   */
  public List<double[]> logProbabilities(List<int[]> texts, Tuning tuning) {
    if (model.isEncoderDecoder()) {
      throw new ConfigException(
          "model", "only a decoder says how likely a text is; this is an encoder-decoder");
    }
    proxy.ifPresent(small -> small.requireKnown(texts));
    device.bindThread();
    Likelihood likelihood = new Likelihood(device, new ProxyTuning.Network(model, tuning), proxy);
    List<double[]> all = new ArrayList<>();
    for (int[] text : texts) {
      if (text.length < 2) {
        throw new IllegalArgumentException("a text needs two tokens, got " + text.length);
      }
      requireFits(text.length - 1, 1, tuning);
      all.add(likelihood.of(text));
    }
    return all;
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
    proxy.ifPresent(small -> small.requireKnown(prompts));
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
    try (NextTokens decoding = decoding(tuning, pad, source, texts)) {
      return config.beams().numBeams() > 1
          ? new BeamSearch(config, rules, ending).run(decoding, started)
          : new Choosing(config, rules, ending).run(decoding, started, numbers(prompts));
    }
  }

  private NextTokens decoding(
      Tuning tuning, int pad, Optional<TokenBatch> source, List<int[]> texts) {
    NextTokens base = new Decoding(model, tuning, device, pad, source, texts, cached);
    return proxy
        .<NextTokens>map(
            small ->
                new ProxyDecoding(
                    base,
                    decoding(small.expert(), pad, source, texts),
                    decoding(small.antiExpert(), pad, source, texts),
                    small.alpha()))
        .orElse(base);
  }

  private Decoding decoding(
      ProxyTuning.Network small, int pad, Optional<TokenBatch> source, List<int[]> texts) {
    int known = pad < small.model().config().vocabulary() ? pad : small.model().config().padId();
    return new Decoding(small.model(), small.tuning(), device, known, source, texts, cached);
  }

  private static long[] numbers(List<int[]> prompts) {
    return prompts.stream().mapToLong(prompt -> Philox.hash(Arrays.toString(prompt))).toArray();
  }

  private void requireFits(int prompt, int budget, Tuning tuning) {
    requireFits("the model", model, prompt, budget, tuning);
    proxy.ifPresent(
        p -> {
          requireFits("the expert", p.expert().model(), prompt, budget, p.expert().tuning());
          ProxyTuning.Network anti = p.antiExpert();
          requireFits("the anti-expert", anti.model(), prompt, budget, anti.tuning());
        });
  }

  private static void requireFits(
      String name, Backbone model, int prompt, int budget, Tuning tuning) {
    int virtual = model.isEncoderDecoder() ? 0 : tuning.virtualTokens();
    long read = (long) tuning.prefixLength() + virtual + prompt + budget - 1;
    int most = model.config().maxTokens();
    if (read > most) {
      throw new ConfigException(
          "generation.max_new_tokens",
          "%d new tokens after a prompt of %d need %d positions; %s has %d"
              .formatted(budget, prompt, read, name, most));
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
