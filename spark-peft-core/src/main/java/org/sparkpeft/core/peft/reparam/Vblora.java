package org.sparkpeft.core.peft.reparam;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.io.DType;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.nn.Embedding;
import org.sparkpeft.core.peft.AdapterTensors;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.BaseWeights;
import org.sparkpeft.core.peft.MethodClass;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.MethodTensors;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethod;
import org.sparkpeft.core.peft.TargetModules;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * VB-LoRA, LoRA from one bank of vectors (Li et al. 2024, arXiv 2405.15179): {@code W + B A}, A and
 * B cut into pieces of length d; each piece is a mean of the k vectors of the trained bank {@code
 * [num_vectors, d]} with the largest trained logits, weighted by their softmax. Logits {@code [r,
 * in / d, num_vectors]} and {@code [out / d, r, num_vectors]}. Random at the start, so the output
 * changes at once, a little. Averages of clients' logits are not averages of weights.
 */
public final class Vblora implements PeftMethod<Vblora.Config> {
  /** The bank's name: files put it outside of the model. */
  private static final String BANK = "vblora_vector_bank";

  private static final String BANK_PREFIX = "base_model.";
  private static final String INDICES = "_topk_indices";
  private static final String WEIGHTS = "_topk_weights";

  /** Logit of a vector that a file with the largest logits only has left out. */
  private static final float ABSENT = -1e9f;

  /**
   * The settings, under Hugging Face's names.
   *
   * @param r rank
   * @param numVectors vectors in the bank
   * @param vectorLength length d of a vector, which must divide a layer's inputs and outputs
   * @param topk vectors in the mean of a piece
   * @param targetModules linear layers acted on
   * @param excludeModules names to leave out
   * @param saveOnlyTopkWeights whether files hold the weights of the chosen vectors instead of the
   *     logits: much smaller, but training from them can choose no other vectors
   * @param vbloraDropout probability of dropping an entry of the branch's input while training
   * @param bias {@code none}, or {@code vblora_only} to train the layers' biases
   * @param modulesToSave modules trained in full
   * @param initVectorBankBound the bank starts uniform within this bound
   * @param initLogitsStd logits start from N(0, this)
   * @param layersToTransform layer numbers; empty means all
   */
  public record Config(
      int r,
      int numVectors,
      int vectorLength,
      int topk,
      TargetModules targetModules,
      List<String> excludeModules,
      boolean saveOnlyTopkWeights,
      double vbloraDropout,
      String bias,
      List<String> modulesToSave,
      double initVectorBankBound,
      double initLogitsStd,
      List<Integer> layersToTransform)
      implements PeftConfig {

    public Config {
      excludeModules = List.copyOf(excludeModules);
      modulesToSave = List.copyOf(modulesToSave);
      layersToTransform = List.copyOf(layersToTransform);
      Problems problems = new Problems();
      Checks.rank(problems, r);
      problems.require(
          numVectors >= 1 && numVectors <= 1 << 20,
          "num_vectors",
          numVectors,
          "must be 1..1048576");
      problems.require(vectorLength >= 1, "vector_length", vectorLength, "must be at least 1");
      problems.require(
          topk >= 1 && topk <= numVectors, "topk", topk, "must be 1..num_vectors; usual is 2");
      Checks.probability(problems, "vblora_dropout", vbloraDropout);
      Checks.bias(problems, bias);
      Checks.positive(problems, "init_vector_bank_bound", initVectorBankBound);
      Checks.positive(problems, "init_logits_std", initLogitsStd);
      Checks.layers(problems, layersToTransform);
      problems.throwIfAny();
    }

    @Override
    public String peftType() {
      return "VBLORA";
    }
  }

  private static Config config(int numVectors, int vectorLength, List<String> modulesToSave) {
    return new Config(
        4,
        numVectors,
        vectorLength,
        2,
        TargetModules.of("query", "value"),
        List.of(),
        false,
        0,
        "none",
        modulesToSave,
        0.02,
        0.1,
        List.of());
  }

  /** Hugging Face's vectors of length 256 do not divide the sides of small models' layers. */
  @Override
  public Config defaults() {
    return config(64, 8, List.of("classifier"));
  }

  @Override
  public Config fileDefaults() {
    return config(256, 256, List.of());
  }

  @Override
  public String peftType() {
    return "VBLORA";
  }

  @Override
  public Class<Config> configType() {
    return Config.class;
  }

  @Override
  public MethodClass methodClass() {
    return MethodClass.REPARAMETERISED;
  }

  @Override
  public double usualRate() {
    return 3;
  }

  @Override
  public Map<String, Object> inertFields() {
    return Checks.inert("fan_in_fan_out", false);
  }

  @Override
  public AttachedMethod attach(Config config, ModuleTree modules) {
    List<ModuleSpec> layers =
        Layers.linear(
            modules, config.targetModules(), config.excludeModules(), config.layersToTransform());
    for (ModuleSpec layer : layers) {
      if (layer.in() % config.vectorLength() != 0 || layer.out() % config.vectorLength() != 0) {
        throw new ConfigException(
            "vector_length",
            "must divide the "
                + layer.in()
                + " inputs and "
                + layer.out()
                + " outputs of "
                + layer.path()
                + ", got "
                + config.vectorLength());
      }
    }
    return TrainedBiases.of(config.bias(), new Attached(config, layers), layers);
  }

  private record Attached(Config config, List<ModuleSpec> layers) implements LowRankMethod {
    @Override
    public boolean startsAsBase() {
      return false;
    }

    private Map<String, List<Integer>> logits() {
      Map<String, List<Integer>> shapes = new LinkedHashMap<>();
      int length = config.vectorLength();
      for (ModuleSpec layer : layers) {
        shapes.put(
            layer.path() + ".vblora_logits_A",
            List.of(config.r(), layer.in() / length, config.numVectors()));
        shapes.put(
            layer.path() + ".vblora_logits_B",
            List.of(layer.out() / length, config.r(), config.numVectors()));
      }
      return shapes;
    }

    private List<Integer> bank() {
      return List.of(config.numVectors(), config.vectorLength());
    }

    @Override
    public Map<String, List<Integer>> shapes() {
      Map<String, List<Integer>> shapes = logits();
      shapes.put(BANK, bank());
      return shapes;
    }

    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      Map<String, float[]> values = new LinkedHashMap<>();
      logits()
          .forEach(
              (name, shape) -> {
                Philox random = Philox.of(seed, "vblora", Philox.hash(name));
                values.put(name, random.gaussian(Layers.size(shape), config.initLogitsStd()));
              });
      float bound = (float) config.initVectorBankBound();
      values.put(BANK, Philox.of(seed, "vblora bank").uniform(Layers.size(bank()), -bound, bound));
      return values;
    }

    @Override
    public double dropout() {
      return config.vbloraDropout();
    }

    @Override
    public Factors factors(ModuleSpec layer, MethodTensors tensors) {
      NDArray bank = tensors.parameter(BANK);
      NDArray a = pieces(tensors.parameter(layer.path() + ".vblora_logits_A"), bank);
      NDArray b = pieces(tensors.parameter(layer.path() + ".vblora_logits_B"), bank);
      return new Factors(
          a.reshape(config.r(), layer.in()), b.transpose(0, 2, 1).reshape(layer.out(), config.r()));
    }

    /** {@code [p, q, num_vectors]} to {@code [p, q, d]}. */
    private NDArray pieces(NDArray logits, NDArray bank) {
      NDList largest = logits.topK(config.topk(), 2);
      NDArray weights = largest.get(0).softmax(-1).expandDims(-1);
      NDArray vectors = Embedding.of(largest.get(1), bank); // [p, q, k, d]
      return vectors.mul(weights).sum(new int[] {2});
    }

    @Override
    public SortedMap<String, TensorData> save(ParameterVector parameters, MethodState state) {
      Map<String, TensorData> file = new TreeMap<>();
      String bank = BANK_PREFIX + BANK;
      file.put(bank, TensorData.ofFloats(bank, bank(), parameters.tensor(BANK)));
      logits()
          .forEach(
              (name, shape) -> {
                String full = AdapterTensors.PREFIX + name;
                float[] values = parameters.tensor(name);
                if (config.saveOnlyTopkWeights()) {
                  saveLargest(file, full, shape, values);
                } else {
                  file.put(full, TensorData.ofFloats(full, shape, values));
                }
              });
      return TensorData.byName(file.values());
    }

    /** Which vectors, and all weights but the last, which is 1 minus their sum. */
    private void saveLargest(
        Map<String, TensorData> file, String name, List<Integer> shape, float[] logits) {
      int vectors = config.numVectors();
      int k = config.topk();
      int pieces = logits.length / vectors;
      long[] indices = new long[pieces * k];
      float[] weights = new float[pieces * (k - 1)];
      for (int piece = 0; piece < pieces; piece++) {
        int[] chosen = largest(logits, piece * vectors);
        double sum = 0;
        double top = logits[piece * vectors + chosen[0]];
        for (int index : chosen) {
          sum += Math.exp(logits[piece * vectors + index] - top);
        }
        for (int i = 0; i < k; i++) {
          indices[piece * k + i] = chosen[i];
          if (i < k - 1) {
            double weight = Math.exp(logits[piece * vectors + chosen[i]] - top) / sum;
            weights[piece * (k - 1) + i] = (float) weight;
          }
        }
      }
      file.put(
          name + INDICES,
          TensorData.ofLongs(
              name + INDICES, List.of(shape.get(0), shape.get(1), k), indices, indexType()));
      file.put(
          name + WEIGHTS,
          TensorData.ofFloats(name + WEIGHTS, List.of(shape.get(0), shape.get(1), k - 1), weights));
    }

    private DType indexType() {
      if (config.numVectors() < 1 << 8) {
        return DType.U8;
      }
      return config.numVectors() < 1 << 15 ? DType.I16 : DType.I32;
    }

    /** The places of the k largest of a piece's logits, largest first. */
    private int[] largest(float[] logits, int from) {
      int[] chosen = new int[config.topk()];
      boolean[] taken = new boolean[config.numVectors()];
      for (int i = 0; i < chosen.length; i++) {
        int best = -1;
        for (int v = 0; v < taken.length; v++) {
          if (!taken[v] && (best < 0 || logits[from + v] > logits[from + best])) {
            best = v;
          }
        }
        chosen[i] = best;
        taken[best] = true;
      }
      return chosen;
    }

    @Override
    public Loaded load(AdapterTensors file, BaseWeights base) {
      Map<String, float[]> values = new LinkedHashMap<>();
      values.put(BANK, file.take(BANK_PREFIX + BANK, bank()).toFloats());
      logits()
          .forEach(
              (name, shape) -> {
                String full = AdapterTensors.PREFIX + name;
                values.put(
                    name,
                    file.has(full + INDICES)
                        ? loadLargest(file, full, shape)
                        : file.take(full, shape).toFloats());
              });
      return new Loaded(values, MethodState.EMPTY);
    }

    private float[] loadLargest(AdapterTensors file, String name, List<Integer> shape) {
      int vectors = config.numVectors();
      int k = config.topk();
      List<Integer> chosen = List.of(shape.get(0), shape.get(1), k);
      long[] indices = file.take(name + INDICES, chosen).toLongs();
      List<Integer> known = List.of(shape.get(0), shape.get(1), k - 1);
      float[] weights = file.take(name + WEIGHTS, known).toFloats();
      float[] logits = Layers.filled(Layers.size(shape), ABSENT);
      for (int piece = 0; piece < indices.length / k; piece++) {
        float rest = 1;
        for (int i = 0; i < k; i++) {
          long index = indices[piece * k + i];
          if (index < 0 || index >= vectors) {
            throw new FormatException(
                file.source(),
                name + INDICES + " names vector " + index + " of a bank of " + vectors);
          }
          float weight = i < k - 1 ? weights[piece * (k - 1) + i] : rest;
          rest -= weight;
          logits[piece * vectors + (int) index] =
              (float) Math.log(Math.max(weight, Float.MIN_NORMAL));
        }
      }
      return logits;
    }
  }
}
