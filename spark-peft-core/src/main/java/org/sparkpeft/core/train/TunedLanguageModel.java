package org.sparkpeft.core.train;

import ai.djl.ndarray.NDManager;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.function.BiFunction;
import java.util.function.Function;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.generate.Generated;
import org.sparkpeft.core.generate.GenerationConfig;
import org.sparkpeft.core.generate.Generator;
import org.sparkpeft.core.generate.ProxyTuning;
import org.sparkpeft.core.model.TokenBatch;
import org.sparkpeft.core.model.Tuning;
import org.sparkpeft.core.peft.Modification;
import org.sparkpeft.core.peft.ModifiedForward;
import org.sparkpeft.core.peft.TuningContext;

/**
 * A language model under given adapters and nothing of its own, alone or with the logits of a
 * smaller one added as {@link ProxyTuning} says. Immutable.
 */
public final class TunedLanguageModel {

  /** What is added to the logits. */
  private record Proxy(TunedLanguageModel expert, TunedLanguageModel antiExpert, double alpha) {}

  private final TunableModel model;
  private final AdapterStack adapters;
  private final Optional<Proxy> proxy;
  private final int task;

  /**
   * Of the first task, where an adapter has several.
   *
   * @throws ConfigException if the task predicts no words, or the adapters do not fit
   */
  public TunedLanguageModel(TunableModel model, AdapterStack adapters) {
    this(model, adapters, Optional.empty(), 0);
    if (!model.task().kind().isLanguage()) {
      throw new ConfigException(
          "task", "only language models generate text; this one's task is " + model.task().task());
    }
    model.requireUsable(adapters);
  }

  private TunedLanguageModel(
      TunableModel model, AdapterStack adapters, Optional<Proxy> proxy, int task) {
    this.model = model;
    this.adapters = adapters;
    this.proxy = proxy;
    this.task = task;
  }

  /**
   * The same model for texts of another task; a proxy keeps its own.
   *
   * @param number from 0
   */
  public TunedLanguageModel ofTask(int number) {
    return new TunedLanguageModel(model, adapters, proxy, number);
  }

  /**
   * This model, tuned by what training did to another one. The three must be on one device and
   * share a tokenizer, which is not checked here.
   *
   * @param expert the other one as trained, without a proxy itself
   * @param antiExpert the other one before that; with an adapter, the same model without it
   * @param alpha strength; 0 is this model alone
   * @throws ConfigException if they read input of different kinds
   */
  public TunedLanguageModel withProxy(
      TunedLanguageModel expert, TunedLanguageModel antiExpert, double alpha) {
    if (expert.proxy.isPresent() || antiExpert.proxy.isPresent()) {
      throw new IllegalArgumentException("a proxy cannot have a proxy of its own");
    }
    return new TunedLanguageModel(
        model, adapters, Optional.of(new Proxy(expert, antiExpert, alpha)), task);
  }

  /**
   * Continues prompts.
   *
   * @param prompts token ids, none empty; of an encoder-decoder, what the encoder reads
   * @param text turns tokens into text, for stop strings
   * @throws ConfigException if a setting or a prompt does not fit the model
   */
  public List<List<Generated>> generate(
      List<int[]> prompts, GenerationConfig config, Function<int[], String> text) {
    return with(
        (generator, tuning) -> generator.withDecoder(text).generate(prompts, config, tuning));
  }

  /**
   * Natural logarithms of the probabilities of given texts' tokens, from each one's second on.
   *
   * @param texts token ids, each at least two
   * @throws ConfigException if the model is no decoder or a text does not fit it
   */
  public List<double[]> logProbabilities(List<int[]> texts) {
    return with((generator, tuning) -> generator.logProbabilities(texts, tuning));
  }

  private <T> T with(BiFunction<Generator, Tuning, T> use) {
    model.device().bindThread();
    try (NDManager manager = model.device().newManager()) {
      Generator generator = new Generator(model.backbone(), model.device());
      if (proxy.isPresent()) {
        Proxy small = proxy.get();
        generator =
            generator.withProxy(
                new ProxyTuning(
                    small.expert.network(manager), small.antiExpert.network(manager), small.alpha));
      }
      return use.apply(generator, tuning(manager));
    }
  }

  private ProxyTuning.Network network(NDManager manager) {
    return new ProxyTuning.Network(model.backbone(), tuning(manager));
  }

  private Tuning tuning(NDManager manager) {
    LoadedStack loaded = new LoadedStack(manager, adapters, List.of());
    // Prompts and beams come and go in generation: one example stands for all, with their task.
    TokenBatch any =
        TokenBatch.of(List.of(new int[] {model.padId()}), model.padId())
            .withTasks(new int[] {task});
    List<Modification> all = new ArrayList<>(loaded.modules());
    all.addAll(loaded.methods(TuningContext.inference(manager, any)));
    return ModifiedForward.of(all);
  }
}
