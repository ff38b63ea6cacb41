package org.sparkpeft.federated.client;

import java.io.Serializable;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.jspecify.annotations.Nullable;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.generate.Generated;
import org.sparkpeft.core.generate.GenerationConfig;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.peft.LoraConfig;
import org.sparkpeft.core.peft.TargetModules;
import org.sparkpeft.core.text.TextTokenizer;
import org.sparkpeft.core.train.AdapterStack;
import org.sparkpeft.core.train.TaskConfig;
import org.sparkpeft.core.train.TunedLanguageModel;

/**
 * Continues texts with a language model, with or without an adapter, in the process it is called
 * in. It travels to executors as the name of the model and the adapter's values.
 */
public final class TextGeneration implements Serializable {
  private static final long serialVersionUID = 1L;

  /** Some method must be named; without an adapter it lays nothing on the base. */
  private static final LoraConfig ALL_LINEAR =
      new LoraConfig(
          8,
          16,
          0,
          TargetModules.fromConfig(TargetModules.ALL_LINEAR),
          List.of(),
          false,
          "true",
          Map.of(),
          Map.of(),
          List.of(),
          List.of());

  private final RuntimeSpec runtime;
  private final @Nullable StackedAdapters adapters;
  private final @Nullable Proxy proxy;
  private final int task;

  /** What is added to the logits. */
  private record Proxy(TextGeneration expert, TextGeneration antiExpert, double alpha)
      implements Serializable {}

  private TextGeneration(
      RuntimeSpec runtime, @Nullable StackedAdapters adapters, @Nullable Proxy proxy, int task) {
    this.runtime = runtime;
    this.adapters = adapters;
    this.proxy = proxy;
    this.task = task;
  }

  /** The base model alone. */
  public static TextGeneration of(String model, int maxLength) {
    RuntimeSpec spec = new RuntimeSpec(model, task(model, maxLength), ALL_LINEAR, 1);
    return new TextGeneration(spec, null, null, 0);
  }

  /** A model with an adapter. */
  public static TextGeneration of(TunedAdapter adapter) {
    return of(StackedAdapters.of(adapter.runtime(), adapter.parameters()));
  }

  /**
   * A model with an adapter from a folder.
   *
   * @param adapter a Hugging Face PEFT directory; empty for the base model alone
   * @throws ConfigException if the adapter's settings do not fit the model
   * @throws org.sparkpeft.core.error.FormatException if it cannot be read
   */
  public static TextGeneration of(String model, String adapter, int maxLength) {
    return adapter.isEmpty()
        ? of(model, maxLength)
        : of(
            TunedAdapter.read(
                Path.of(adapter), Optional.of(model), Optional.of(task(model, maxLength))));
  }

  /** A model with adapters on top of each other. */
  static TextGeneration of(StackedAdapters adapters) {
    return new TextGeneration(adapters.runtime(), adapters, null, 0);
  }

  /** The base of this one, as it was before training; it shares the memory of this one's. */
  public TextGeneration untuned() {
    return untuned(runtime);
  }

  /** The base model of a run. */
  static TextGeneration untuned(RuntimeSpec runtime) {
    return new TextGeneration(runtime, null, null, 0);
  }

  /**
   * This model, tuned while it generates by what training did to a smaller one: {@code alpha
   * (expert - antiExpert)} is added to the logits of the next token; see {@link
   * org.sparkpeft.core.generate.ProxyTuning}. Prompts, settings and what ends a text are this
   * model's.
   *
   * @param expert the smaller one as trained
   * @param antiExpert the smaller one before that, such as {@link #untuned}
   * @param alpha strength; 1 adds the whole difference, 0 changes nothing
   * @throws ConfigException if a token id means another token to one of them, or their tasks differ
   */
  public TextGeneration withProxy(TextGeneration expert, TextGeneration antiExpert, double alpha) {
    if (!Double.isFinite(alpha)) {
      throw new ConfigException("proxy_alpha", "must be finite, got " + alpha);
    }
    if (!tasks().isEmpty() && !expert.tasks().isEmpty() && !tasks().equals(expert.tasks())) {
      throw new ConfigException(
          "proxy", "was trained for the tasks " + expert.tasks() + ", the model for " + tasks());
    }
    ModelDirectory own = directory();
    TextTokenizer.requireSameTokens(own, expert.directory(), "proxy");
    if (!antiExpert.runtime.model().equals(expert.runtime.model())) {
      TextTokenizer.requireSameTokens(own, antiExpert.directory(), "proxy_base");
    }
    return new TextGeneration(runtime, adapters, new Proxy(expert, antiExpert, alpha), task);
  }

  /**
   * {@link #withProxy(TextGeneration, TextGeneration, double)} with networks from folders.
   *
   * @param model the smaller model
   * @param adapter what training made of it; empty if {@code model} itself was trained
   * @param before the smaller model before that; empty for {@code model} without the adapter
   * @throws ConfigException if there is neither an adapter nor another model, or as above
   */
  public TextGeneration withProxy(
      String model, String adapter, String before, double alpha, int maxLength) {
    if (adapter.isEmpty() && before.isEmpty()) {
      throw new ConfigException(
          "proxy",
          "needs an adapter, or the model it was trained from (proxy_base); without one there is no"
              + " difference to add");
    }
    TextGeneration expert = of(model, adapter, maxLength);
    return withProxy(expert, before.isEmpty() ? expert.untuned() : of(before, maxLength), alpha);
  }

  /**
   * A larger model for the same task, tuned by what training did to this one.
   *
   * @param model folder of a model with this one's tokens
   * @throws ConfigException as {@link #withProxy(TextGeneration, TextGeneration, double)}
   */
  TextGeneration asProxyFor(String model, double alpha) {
    RuntimeSpec larger =
        new RuntimeSpec(model, runtime.task(), ALL_LINEAR, runtime.mathThreads())
            .withEncoding(runtime.encoding())
            .withTasks(runtime.tasks());
    return new TextGeneration(larger, null, null, 0).withProxy(this, untuned(), alpha);
  }

  /**
   * The same for texts of another task than the first, of an adapter or proxy that was trained with
   * {@code data.task}.
   *
   * @throws org.sparkpeft.core.error.DataException if training had no such task
   */
  public TextGeneration ofTask(String name) {
    return ofTask(new TaskNames(tasks()).number(name));
  }

  /** The same for texts of the task with this number. */
  TextGeneration ofTask(int number) {
    Proxy own =
        proxy == null
            ? null
            : new Proxy(proxy.expert.ofTask(number), proxy.antiExpert.ofTask(number), proxy.alpha);
    return new TextGeneration(runtime, adapters, own, number);
  }

  /** Names of the tasks, the proxy's where there are no others. */
  private List<String> tasks() {
    return runtime.tasks().isEmpty() && proxy != null ? proxy.expert.tasks() : runtime.tasks();
  }

  /** Base model and task of what generates. */
  RuntimeSpec runtime() {
    return runtime;
  }

  private ModelDirectory directory() {
    return ModelDirectory.resolve(runtime.model());
  }

  /** The task of a language model: {@code text2text-generation} where it has an encoder. */
  public static TaskConfig task(String model, int maxLength) {
    boolean encoder =
        ModelDirectory.resolve(model).config().path("is_encoder_decoder").asBoolean(false);
    String name = encoder ? "text2text-generation" : "text-generation";
    return new TaskConfig(name, List.of(), "auto", maxLength);
  }

  /**
   * The model's settings with some replaced.
   *
   * @throws ConfigException if there is no such setting, or not such a value
   */
  public GenerationConfig config(Map<String, ?> settings) {
    return GenerationConfig.of(directory(), settings);
  }

  /**
   * The continuations of each text, without the text.
   *
   * @param settings of {@code generation_config.json}, in place of the model's own
   */
  public List<List<String>> continuations(List<String> texts, Map<String, ?> settings) {
    GenerationConfig config = config(settings);
    TextEncoder encoder = ExecutorRuntime.of(runtime).textEncoder();
    List<int[]> prompts = texts.stream().map(encoder::prompt).toList();
    List<List<String>> all = new ArrayList<>();
    for (List<Generated> found : model().generate(prompts, config, encoder::decode)) {
      all.add(found.stream().map(one -> encoder.decode(one.tokens())).toList());
    }
    return all;
  }

  /**
   * How unexpected each text is to a decoder: {@code exp} of the mean negative logarithm of its
   * tokens' probabilities, from the second token on.
   *
   * @return NaN for a text of one token
   * @throws ConfigException if the model is no decoder
   */
  public List<Double> perplexities(List<String> texts) {
    TextEncoder encoder = ExecutorRuntime.of(runtime).textEncoder();
    TunedLanguageModel model = model();
    List<Double> all = new ArrayList<>();
    for (String text : texts) {
      int[] tokens = encoder.prompt(text);
      double[] logs =
          tokens.length < 2 ? new double[0] : model.logProbabilities(List.of(tokens)).get(0);
      all.add(Math.exp(-Arrays.stream(logs).average().orElse(Double.NaN)));
    }
    return all;
  }

  /** The model here. */
  TunedLanguageModel model() {
    AdapterStack stack = adapters == null ? AdapterStack.NONE : adapters.stack();
    TunedLanguageModel alone =
        new TunedLanguageModel(ExecutorRuntime.of(runtime).model(), stack).ofTask(task);
    return proxy == null
        ? alone
        : alone.withProxy(proxy.expert.model(), proxy.antiExpert.model(), proxy.alpha);
  }
}
