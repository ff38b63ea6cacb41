package org.sparkpeft.core.peft.additive;

import ai.djl.ndarray.NDArray;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.BaseWeights;
import org.sparkpeft.core.peft.MethodClass;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.MethodTensors;
import org.sparkpeft.core.peft.Modification;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethod;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;

/**
 * Prompt tuning (Lester et al. 2021, arXiv 2104.08691): {@code prompt_embeddings [n, hidden]} in
 * front of the word embeddings. They come first, so a head that reads the first token reads the
 * first of them, as in Hugging Face PEFT. Clients average the vectors; slots agree as they share a
 * start.
 */
public final class PromptTuning implements PeftMethod<PromptTuning.Config> {

  /**
   * Settings.
   *
   * @param numVirtualTokens n
   * @param promptTuningInit {@code RANDOM} (standard normal), {@code SAMPLE_VOCAB} (embeddings of
   *     random tokens) or {@code TEXT} (embeddings of a text's tokens, repeated or cut to n)
   * @param promptTuningInitText the text; read with the base's own tokenizer
   * @param tokenizerNameOrPath Hugging Face's name of that tokenizer; only written
   * @param modulesToSave modules trained and saved in full
   */
  public record Config(
      int numVirtualTokens,
      String promptTuningInit,
      String promptTuningInitText,
      String tokenizerNameOrPath,
      List<String> modulesToSave)
      implements PeftConfig {

    public Config {
      modulesToSave = List.copyOf(modulesToSave);
      VirtualTokens.check(new Problems(), numVirtualTokens)
          .require(
              List.of("RANDOM", "SAMPLE_VOCAB", "TEXT").contains(promptTuningInit),
              "prompt_tuning_init",
              promptTuningInit,
              "must be RANDOM, SAMPLE_VOCAB or TEXT")
          .require(
              !promptTuningInit.equals("TEXT") || !promptTuningInitText.isEmpty(),
              "prompt_tuning_init_text",
              promptTuningInitText,
              "must be given with prompt_tuning_init TEXT")
          .throwIfAny();
    }

    @Override
    public String peftType() {
      return "PROMPT_TUNING";
    }
  }

  @Override
  public String peftType() {
    return "PROMPT_TUNING";
  }

  @Override
  public Class<Config> configType() {
    return Config.class;
  }

  @Override
  public MethodClass methodClass() {
    return MethodClass.ADDITIVE;
  }

  @Override
  public double usualRate() {
    return 3;
  }

  /** Words of the vocabulary: standard normal vectors are far from any. */
  @Override
  public Config defaults() {
    return new Config(16, "SAMPLE_VOCAB", "", "", List.of("classifier"));
  }

  @Override
  public Config fileDefaults() {
    return new Config(16, "RANDOM", "", "", List.of());
  }

  /** The base's tokenizer is used as it is, so arguments for another cannot be honoured. */
  @Override
  public Config readConfig(Map<String, Object> fields) {
    return PeftMethod.super.readConfig(VirtualTokens.withoutSizes(fields));
  }

  @Override
  public SortedMap<String, Object> writeConfig(Config config) {
    SortedMap<String, Object> fields = PeftMethod.super.writeConfig(config);
    fields.put("tokenizer_kwargs", null);
    return fields;
  }

  @Override
  public AttachedMethod attach(Config config, ModuleTree modules) {
    ModuleTree.Structure structure = VirtualTokens.ofWords(modules, peftType());
    int vocabulary =
        modules
            .find(structure.words())
            .orElseThrow(
                () ->
                    new ConfigException(
                        "modules_to_save",
                        structure.words() + " cannot be trained beside a prompt"))
            .in();
    return new Attached(config, structure, vocabulary);
  }

  private static final class Attached extends EncodedVectors {
    private final Config config;
    private final ModuleTree.Structure structure;
    private final int vocabulary;

    Attached(Config config, ModuleTree.Structure structure, int vocabulary) {
      this.config = config;
      this.structure = structure;
      this.vocabulary = vocabulary;
    }

    @Override
    List<Integer> outputShape() {
      return List.of(config.numVirtualTokens(), structure.hidden());
    }

    @Override
    public Map<String, List<Integer>> shapes() {
      return Map.of(VirtualTokens.NAME, outputShape());
    }

    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      return Map.of(
          VirtualTokens.NAME,
          start(
              config.promptTuningInit(),
              config.promptTuningInitText(),
              config.numVirtualTokens(),
              structure,
              vocabulary,
              Philox.of(seed, "prompt"),
              base));
    }

    @Override
    NDArray encode(MethodTensors tensors, TuningContext context) {
      return tensors.parameter(VirtualTokens.NAME);
    }

    @Override
    public List<Modification> modifications(MethodTensors tensors, TuningContext context) {
      return List.of(new Modification.Prompt(vectors(tensors, context)));
    }

    @Override
    public SortedMap<String, Object> modelFields() {
      return VirtualTokens.sizes(structure);
    }
  }

  /** Starting vectors {@code [n, hidden]}. */
  static float[] start(
      String init,
      String text,
      int n,
      ModuleTree.Structure structure,
      int vocabulary,
      Philox random,
      BaseWeights base) {
    int hidden = structure.hidden();
    if (init.equals("RANDOM")) {
      return random.gaussian(Math.multiplyExact(n, hidden), 1);
    }
    int[] ids = new int[n];
    if (init.equals("TEXT")) {
      ids = base.tokenIds(text);
    } else {
      for (int i = 0; i < n; i++) {
        ids[i] = (int) (random.doubleAt(i) * vocabulary);
      }
    }
    return VirtualTokens.words(base, structure.words(), hidden, ids, n);
  }
}
