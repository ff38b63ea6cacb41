package org.sparkpeft.merge.adapter;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.SortedMap;
import java.util.SortedSet;
import java.util.TreeMap;
import java.util.TreeSet;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.io.AdapterDirectory;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.TaskVector;
import org.sparkpeft.merge.method.BlockwiseMethod;
import org.sparkpeft.merge.method.Combination;
import org.sparkpeft.merge.method.Dare;
import org.sparkpeft.merge.method.LoraMerge;
import org.sparkpeft.merge.method.LoraModule;
import org.sparkpeft.merge.method.MergeMethod;
import org.sparkpeft.merge.method.Rescale;
import org.sparkpeft.merge.method.Sparsify;
import org.sparkpeft.merge.method.TaskArithmetic;
import org.sparkpeft.merge.method.Ties;

/**
 * LoRA adapters of one base model become one, as Hugging Face PEFT's add_weighted_adapter does it,
 * module by module. A module that some adapters do not have counts as zero there.
 *
 * <p>Where PEFT's names end in {@code _svd}, delta W of each adapter is merged and the result
 * factorised; otherwise A's and B's are merged apart, each with the square root of weight and
 * scaling, which needs equal ranks and is not the merge of the products. {@code cat} is exact,
 * {@code svd} the best of its rank; both need no more than the factors. Unlike PEFT, the result
 * never keeps the first adapter's use_rslora, which would scale it once more.
 *
 * @param type one of {@link #TYPES}
 * @param density fraction kept, for ties, dare and magnitude_prune
 * @param rank of the result of the svd kinds; 0 takes the largest of the inputs'
 * @param seed of dare
 */
public record AdapterMerge(String type, double density, int rank, long seed) {
  private static final Logger LOG = LoggerFactory.getLogger(AdapterMerge.class);

  /** What adapters can be merged by. */
  public static final List<String> TYPES =
      List.of(
          "cat",
          "linear",
          "svd",
          "ties",
          "ties_svd",
          "dare_linear",
          "dare_linear_svd",
          "dare_ties",
          "dare_ties_svd",
          "magnitude_prune",
          "magnitude_prune_svd");

  /** Delta W larger than this on both sides takes too long to factorise. */
  private static final int LARGEST_SIDE = 2048;

  public AdapterMerge {
    if (!TYPES.contains(type)) {
      throw new ConfigException(
          "method", "adapters merge by one of " + String.join(", ", TYPES) + ", got " + type);
    }
    if (!(density > 0 && density <= 1)) {
      throw new ConfigException("density", "must be in (0, 1], got " + density);
    }
    if (rank < 0) {
      throw new ConfigException("rank", "must be 0 (as the inputs) or above, got " + rank);
    }
  }

  /**
   * What came of it.
   *
   * @param modules number of modules
   * @param rank largest rank
   * @param notes what a user should know: modules that were missing, parts that were averaged
   */
  public record Summary(int modules, int rank, List<String> notes) {
    public Summary {
      notes = List.copyOf(notes);
    }
  }

  /**
   * Merges adapters into a new one.
   *
   * @param adapters directories, at least two
   * @param weights one for each, finite
   * @param out the new adapter; an earlier adapter there is replaced
   * @param force whether adapters of base models of different names are merged all the same
   * @throws ConfigException if there are too few, or a weight is not finite
   * @throws DataException if they do not fit each other
   */
  public Summary merge(List<Path> adapters, List<Double> weights, Path out, boolean force) {
    Merged merged = plan(adapters, weights, force);
    AdapterDirectory.write(out, merged.config, merged.tensors);
    return merged.summary;
  }

  /** The same without writing anything. */
  public Summary check(List<Path> adapters, List<Double> weights, boolean force) {
    return plan(adapters, weights, force).summary;
  }

  private record Merged(
      ObjectNode config, SortedMap<String, TensorData> tensors, Summary summary) {}

  private Merged plan(List<Path> paths, List<Double> weights, boolean force) {
    if (paths.size() < 2 || paths.size() != weights.size()) {
      throw new ConfigException(
          "models",
          "a merge needs at least two adapters and a weight for each, got "
              + paths.size()
              + " and "
              + weights.size());
    }
    for (double weight : weights) {
      if (!Double.isFinite(weight)) {
        throw new ConfigException("weight", "must be finite, got " + weight);
      }
    }
    List<LoraAdapter> adapters = paths.stream().map(LoraAdapter::read).toList();
    requireOneBase(adapters, force);
    List<String> notes = new ArrayList<>();
    SortedMap<String, LoraModule> modules = new TreeMap<>(ParameterLayout.UTF8_ORDER);
    SortedSet<String> names = new TreeSet<>(ParameterLayout.UTF8_ORDER);
    adapters.forEach(adapter -> names.addAll(adapter.modules().keySet()));
    for (String name : names) {
      modules.put(name, module(name, adapters, weights, notes));
    }
    SortedMap<String, TensorData> tensors = others(adapters, weights, notes);
    modules.forEach(
        (name, module) -> {
          put(tensors, name + ".lora_A.weight", List.of(module.rank(), module.in()), module.a());
          put(tensors, name + ".lora_B.weight", List.of(module.out(), module.rank()), module.b());
        });
    int most = modules.values().stream().mapToInt(LoraModule::rank).max().orElse(0);
    notes.forEach(LOG::info);
    return new Merged(
        config(adapters, modules, most), tensors, new Summary(modules.size(), most, notes));
  }

  private static void put(
      SortedMap<String, TensorData> tensors, String name, List<Integer> shape, float[] values) {
    tensors.put(name, TensorData.ofFloats(name, shape, values));
  }

  private static void requireOneBase(List<LoraAdapter> adapters, boolean force) {
    Set<String> bases = new LinkedHashSet<>();
    adapters.forEach(adapter -> bases.add(adapter.base()));
    if (bases.size() > 1 && !force) {
      throw new DataException(
          "the adapters name different base models, "
              + String.join(", ", bases.stream().map(b -> b.isEmpty() ? "none" : b).toList())
              + "; if these are one and the same, merge with --force");
    }
  }

  private LoraModule module(
      String name, List<LoraAdapter> adapters, List<Double> weights, List<String> notes) {
    List<LoraModule> present = new ArrayList<>();
    List<Double> theirs = new ArrayList<>();
    for (int t = 0; t < adapters.size(); t++) {
      LoraModule module = adapters.get(t).modules().get(name);
      if (module == null) {
        notes.add(adapters.get(t).path() + " has no " + name + "; it counts as zero");
      } else {
        if (!present.isEmpty()
            && (module.in() != present.get(0).in() || module.out() != present.get(0).out())) {
          throw new DataException(
              name
                  + " is "
                  + module.out()
                  + " x "
                  + module.in()
                  + " in "
                  + adapters.get(t).path()
                  + ", elsewhere "
                  + present.get(0).out()
                  + " x "
                  + present.get(0).in()
                  + "; the adapters are for different models");
        }
        present.add(module);
        theirs.add(weights.get(t));
      }
    }
    return merged(name, present, theirs);
  }

  private LoraModule merged(String name, List<LoraModule> modules, List<Double> weights) {
    int most = modules.stream().mapToInt(LoraModule::rank).max().orElse(1);
    int kept = rank == 0 ? most : rank;
    if (type.equals("cat")) {
      return LoraMerge.concatenate(modules, weights);
    }
    if (type.equals("svd")) {
      return LoraMerge.svd(modules, weights, kept);
    }
    if (type.endsWith("_svd")) {
      return ofDeltas(name, modules, weights, kept);
    }
    if (modules.stream().mapToInt(LoraModule::rank).distinct().count() > 1) {
      throw new DataException(
          "method "
              + type
              + " needs equal ranks, "
              + name
              + " has "
              + modules.stream().map(LoraModule::rank).toList()
              + "; use cat, svd"
              + (type.equals("linear") ? "" : " or " + type + "_svd"));
    }
    return type.equals("linear") ? LoraMerge.linear(modules, weights) : ofFactors(modules, weights);
  }

  private LoraModule ofFactors(List<LoraModule> modules, List<Double> weights) {
    LoraModule first = modules.get(0);
    List<Double> right = new ArrayList<>();
    List<Double> left = new ArrayList<>();
    for (int t = 0; t < modules.size(); t++) {
      double coefficient = weights.get(t) * modules.get(t).scaling();
      left.add(Math.sqrt(Math.abs(coefficient)));
      right.add(Math.signum(coefficient) * left.get(t));
    }
    float[] a = merge("lora_A", modules.stream().map(LoraModule::a).toList(), right);
    float[] b = merge("lora_B", modules.stream().map(LoraModule::b).toList(), left);
    return LoraModule.of(first.out(), first.rank(), first.in(), a, b, 1);
  }

  private LoraModule ofDeltas(
      String name, List<LoraModule> modules, List<Double> weights, int kept) {
    LoraModule first = modules.get(0);
    if (Math.min(first.in(), first.out()) > LARGEST_SIDE) {
      throw new DataException(
          name
              + " is "
              + first.out()
              + " x "
              + first.in()
              + ", too large to factorise; use svd, cat or "
              + type.replace("_svd", ""));
    }
    float[] delta = merge("delta", modules.stream().map(LoraModule::deltaWeight).toList(), weights);
    return LoraMerge.factorise(first.out(), first.in(), delta, kept);
  }

  private float[] merge(String name, List<float[]> values, List<Double> weights) {
    ParameterLayout layout = ParameterLayout.of(Map.of(name, List.of(values.get(0).length)));
    List<TaskVector> vectors = values.stream().map(v -> TaskVector.wrap(layout, v)).toList();
    return switch (type.replace("_svd", "")) {
      case "ties" ->
          new Ties(density, true, 1, Ties.Convention.HF_PEFT).merge(vectors, weights).toArray();
      case "dare_linear" -> dare(Combination.LINEAR).merge(vectors, weights).toArray();
      case "dare_ties" -> dare(Combination.TIES_HF).merge(vectors, weights).toArray();
      default -> {
        MergeMethod sum = new TaskArithmetic(1);
        yield sum.merge(
                vectors.stream().map(v -> Sparsify.trimPerTensor(v, density)).toList(), weights)
            .toArray();
      }
    };
  }

  private BlockwiseMethod dare(Combination combination) {
    return new Dare(density, 1, combination, Rescale.PROBABILITY, seed);
  }

  /** Trained copies and biases: the weighted mean over all adapters. */
  private static SortedMap<String, TensorData> others(
      List<LoraAdapter> adapters, List<Double> weights, List<String> notes) {
    SortedSet<String> names = new TreeSet<>(ParameterLayout.UTF8_ORDER);
    adapters.forEach(adapter -> names.addAll(adapter.others().keySet()));
    SortedMap<String, TensorData> merged = new TreeMap<>(ParameterLayout.UTF8_ORDER);
    double total = weights.stream().mapToDouble(Double::doubleValue).sum();
    for (String name : names) {
      List<TensorData> all = new ArrayList<>();
      for (LoraAdapter adapter : adapters) {
        TensorData tensor = adapter.others().get(name);
        if (tensor == null || (!all.isEmpty() && !all.get(0).shape().equals(tensor.shape()))) {
          throw new DataException(
              adapter.path()
                  + " has "
                  + (tensor == null ? "no " + name : name + " of shape " + tensor.shape())
                  + ", unlike the others; only adapters of one task can be merged, or such without"
                  + " trained copies of modules");
        }
        all.add(tensor);
      }
      double[] sum = new double[all.get(0).elements()];
      for (int t = 0; t < all.size(); t++) {
        float[] values = all.get(t).toFloats();
        double share = Math.abs(total) < 1e-8 ? 1.0 / all.size() : weights.get(t) / total;
        for (int i = 0; i < sum.length; i++) {
          sum[i] += share * values[i];
        }
      }
      float[] mean = new float[sum.length];
      for (int i = 0; i < sum.length; i++) {
        mean[i] = (float) sum[i];
      }
      put(merged, name, all.get(0).shape(), mean);
      notes.add(name + " is the weighted mean");
    }
    return merged;
  }

  private static ObjectNode config(
      List<LoraAdapter> adapters, SortedMap<String, LoraModule> modules, int most) {
    ObjectNode config = adapters.get(0).config().deepCopy();
    config.put("r", most);
    config.put("lora_alpha", most);
    config.put("use_rslora", false);
    config.put("lora_dropout", 0.0);
    config.put("init_lora_weights", true);
    ObjectNode ranks = config.putObject("rank_pattern");
    ObjectNode alphas = config.putObject("alpha_pattern");
    SortedSet<String> paths = new TreeSet<>();
    modules.forEach(
        (name, module) -> {
          String path =
              name.startsWith(LoraAdapter.PREFIX)
                  ? name.substring(LoraAdapter.PREFIX.length())
                  : name;
          paths.add(path);
          if (module.rank() != most) {
            ranks.put(path, module.rank());
            alphas.put(path, module.rank());
          }
        });
    // Full paths name exactly the modules there are, whatever patterns the inputs used.
    ArrayNode targets = config.putArray("target_modules");
    paths.forEach(targets::add);
    config.putNull("layers_to_transform");
    config.putNull("layers_pattern");
    config.putNull("exclude_modules");
    return config;
  }
}
