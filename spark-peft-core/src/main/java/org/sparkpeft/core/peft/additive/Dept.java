package org.sparkpeft.core.peft.additive;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.index.NDIndex;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SortedMap;
import org.sparkpeft.core.engine.Scalars;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.peft.AdapterTensors;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.BaseWeights;
import org.sparkpeft.core.peft.Insertion;
import org.sparkpeft.core.peft.MethodClass;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.MethodTensors;
import org.sparkpeft.core.peft.Modification;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethod;
import org.sparkpeft.core.peft.TensorRole;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * DePT (Shi and Lipani 2023, arXiv 2309.05173): a short prompt P {@code [m, hidden]} and a low-rank
 * update of the word embeddings by position, {@code E'_i = E[id_i] + alpha / sqrt(r) (A B)_i} with
 * {@code A [length, r]}, {@code B [r, hidden]}. The prompt learns at {@code prompt_rate} times the
 * learning rate; one rate for both does not work. Rows that a client's texts never reach get no
 * gradient. Not a type of Hugging Face PEFT; tensors are named as the authors' code does.
 */
public final class Dept implements PeftMethod<Dept.Config> {
  private static final String A = "lora_embedding_A";
  private static final String B = "lora_embedding_B";

  /**
   * Settings.
   *
   * @param numVirtualTokens m
   * @param r rank, 1..512
   * @param loraAlpha alpha, above 0; 8 in the authors' code
   * @param maxSeqLength longest text in tokens
   * @param promptRate factor on the prompt's learning rate, above 0
   * @param promptTuningInit how the prompt starts; see {@link PromptTuning.Config}
   * @param promptTuningInitText text to start from
   * @param modulesToSave modules trained and saved in full
   */
  public record Config(
      int numVirtualTokens,
      int r,
      double loraAlpha,
      int maxSeqLength,
      double promptRate,
      String promptTuningInit,
      String promptTuningInitText,
      List<String> modulesToSave)
      implements PeftConfig {

    public Config {
      modulesToSave = List.copyOf(modulesToSave);
      VirtualTokens.check(new Problems(), numVirtualTokens)
          .require(r >= 1 && r <= 512, "r", r, "must be 1..512")
          .require(
              loraAlpha > 0 && Double.isFinite(loraAlpha),
              "lora_alpha",
              loraAlpha,
              "must be above 0; usual is 8")
          .require(
              maxSeqLength >= 1 && maxSeqLength <= 1 << 20,
              "max_seq_length",
              maxSeqLength,
              "must be 1..1048576, the recipe's max_length")
          .require(
              promptRate > 0 && Double.isFinite(promptRate),
              "prompt_rate",
              promptRate,
              "must be above 0; usual is 60 to 3000")
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
      return "DEPT";
    }

    /** {@code alpha / sqrt(r)}. */
    float scale() {
      return (float) (loraAlpha / Math.sqrt(r));
    }
  }

  @Override
  public String peftType() {
    return "DEPT";
  }

  @Override
  public Class<Config> configType() {
    return Config.class;
  }

  @Override
  public MethodClass methodClass() {
    return MethodClass.HYBRID;
  }

  @Override
  public double usualRate() {
    return 3;
  }

  @Override
  public Config defaults() {
    return new Config(8, 8, 8, 128, 100, "SAMPLE_VOCAB", "", List.of("classifier"));
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

  private record Attached(Config config, ModuleTree.Structure structure, int vocabulary)
      implements AttachedMethod {
    @Override
    public boolean startsAsBase() {
      return false;
    }

    @Override
    public Map<String, List<Integer>> shapes() {
      Map<String, List<Integer>> shapes = new LinkedHashMap<>();
      shapes.put(VirtualTokens.NAME, List.of(config.numVirtualTokens(), structure.hidden()));
      shapes.put(A, List.of(config.maxSeqLength(), config.r()));
      shapes.put(B, List.of(config.r(), structure.hidden()));
      return shapes;
    }

    /** A uniform within 1/sqrt(r), B zero: the low-rank part starts as nothing. */
    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      Map<String, float[]> values = new LinkedHashMap<>();
      values.put(
          VirtualTokens.NAME,
          PromptTuning.start(
              config.promptTuningInit(),
              config.promptTuningInitText(),
              config.numVirtualTokens(),
              structure,
              vocabulary,
              Philox.of(seed, "prompt"),
              base));
      int entries = Math.multiplyExact(config.maxSeqLength(), config.r());
      values.put(A, VirtualTokens.uniform(Philox.of(seed, "dept"), entries, config.r()));
      values.put(B, new float[config.r() * structure.hidden()]);
      return values;
    }

    @Override
    public List<Modification> modifications(MethodTensors tensors, TuningContext context) {
      return List.of(
          new Modification.OnEmbedding(
              structure.words(),
              Insertion.PARALLEL,
              (below, layer, ids) -> below.apply(layer, ids).add(update(ids, tensors))),
          new Modification.Prompt(tensors.parameter(VirtualTokens.NAME)));
    }

    /** {@code [1, seq, hidden]}: the same for every example. */
    private NDArray update(NDArray ids, MethodTensors tensors) {
      long width = ids.getShape().get(1);
      if (width > config.maxSeqLength()) {
        throw new ConfigException(
            "max_seq_length",
            "a text has " + width + " tokens, the adapter " + config.maxSeqLength() + " rows");
      }
      NDArray rows = tensors.parameter(A).get(new NDIndex(":" + width)); // [seq, r]
      return Scalars.times(rows.matMul(tensors.parameter(B)), config.scale()).expandDims(0);
    }

    @Override
    public int virtualTokens() {
      return config.numVirtualTokens();
    }

    @Override
    public TensorRole role(String tensor) {
      return tensor.equals(VirtualTokens.NAME)
          ? TensorRole.LINEAR.withRate(config.promptRate())
          : TensorRole.FACTOR;
    }

    @Override
    public String savedModulePrefix() {
      return VirtualTokens.HEAD_PREFIX;
    }

    @Override
    public SortedMap<String, TensorData> save(ParameterVector parameters, MethodState state) {
      Map<String, TensorData> file = new LinkedHashMap<>();
      shapes()
          .forEach(
              (name, shape) ->
                  file.put(name, TensorData.ofFloats(name, shape, parameters.tensor(name))));
      return TensorData.byName(file.values());
    }

    @Override
    public Loaded load(AdapterTensors file, BaseWeights base) {
      return new Loaded(file.takeAll("", shapes()), MethodState.EMPTY);
    }

    @Override
    public Optional<String> whyNotFused() {
      return Optional.of("vectors in front of the text are no part of any weight");
    }

    @Override
    public Map<String, float[]> fuse(
        ParameterVector parameters, MethodState state, BaseWeights base) {
      throw new IllegalStateException(whyNotFused().orElseThrow());
    }
  }
}
