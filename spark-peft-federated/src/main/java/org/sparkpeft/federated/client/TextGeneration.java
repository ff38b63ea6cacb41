package org.sparkpeft.federated.client;

import java.io.Serializable;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import org.sparkpeft.core.generate.Generated;
import org.sparkpeft.core.generate.GenerationConfig;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.peft.LoraConfig;
import org.sparkpeft.core.peft.TargetModules;
import org.sparkpeft.core.train.AdapterStack;
import org.sparkpeft.core.train.TaskConfig;

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

  private TextGeneration(RuntimeSpec runtime, @Nullable StackedAdapters adapters) {
    this.runtime = runtime;
    this.adapters = adapters;
  }

  /** The base model alone. */
  public static TextGeneration of(String model, int maxLength) {
    RuntimeSpec spec = new RuntimeSpec(model, task(model, maxLength), ALL_LINEAR, 1);
    return new TextGeneration(spec, null);
  }

  /** A model with an adapter. */
  public static TextGeneration of(TunedAdapter adapter) {
    return new TextGeneration(
        adapter.runtime(), StackedAdapters.of(adapter.runtime(), adapter.parameters()));
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
   * @throws org.sparkpeft.core.error.ConfigException if there is no such setting, or not such a
   *     value
   */
  public GenerationConfig config(Map<String, ?> settings) {
    return GenerationConfig.of(ModelDirectory.resolve(runtime.model()), settings);
  }

  /**
   * The continuations of each text, without the text.
   *
   * @param settings of {@code generation_config.json}, in place of the model's own
   */
  public List<List<String>> continuations(List<String> texts, Map<String, ?> settings) {
    GenerationConfig config = config(settings);
    ExecutorRuntime here = ExecutorRuntime.of(runtime);
    AdapterStack stack = adapters == null ? AdapterStack.NONE : adapters.stack();
    TextEncoder encoder = here.textEncoder();
    List<int[]> prompts = texts.stream().map(encoder::prompt).toList();
    List<List<String>> all = new ArrayList<>();
    for (List<Generated> found : here.model().generate(stack, prompts, config, encoder::decode)) {
      all.add(found.stream().map(one -> encoder.decode(one.tokens())).toList());
    }
    return all;
  }
}
