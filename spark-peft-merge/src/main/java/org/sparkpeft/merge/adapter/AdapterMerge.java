package org.sparkpeft.merge.adapter;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.Serializable;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
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
import org.sparkpeft.merge.method.LoraModule;

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
 * <p>Beyond PEFT's there are, in both forms, {@code breadcrumbs}, {@code breadcrumbs_ties} and
 * {@code pcb}, each on one A, B or delta W at a time; {@code knots}, which is TIES on all modules
 * at once in a common basis of each (any ranks; the result has up to their sum); and {@code
 * lorahub}, the plain weighted sums of the A's and of the B's, for equal ranks and scalings.
 *
 * @param type one of {@link #TYPES}
 * @param density fraction kept, for all but cat, svd, linear and lorahub
 * @param gamma fraction of outliers dropped, for breadcrumbs
 * @param lambda factor on the merged delta W
 * @param rank of the result of the svd kinds; 0 takes the largest of the inputs'
 * @param seed of dare
 */
public record AdapterMerge(
    String type, double density, double gamma, double lambda, int rank, long seed)
    implements Serializable {
  private static final long serialVersionUID = 1L;
  private static final Logger LOG = LoggerFactory.getLogger(AdapterMerge.class);

  /** Fraction of outliers that breadcrumbs drop, unless told otherwise: mergekit's. */
  public static final double DEFAULT_GAMMA = 0.01;

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
          "magnitude_prune_svd",
          "breadcrumbs",
          "breadcrumbs_svd",
          "breadcrumbs_ties",
          "breadcrumbs_ties_svd",
          "pcb",
          "pcb_svd",
          "knots",
          "lorahub");

  public AdapterMerge {
    if (!TYPES.contains(type)) {
      throw new ConfigException(
          "method", "adapters merge by one of " + String.join(", ", TYPES) + ", got " + type);
    }
    if (!(density > 0 && density <= 1)) {
      throw new ConfigException("density", "must be in (0, 1], got " + density);
    }
    if (!(gamma >= 0 && gamma < 1)) {
      throw new ConfigException("gamma", "must be in [0, 1), got " + gamma);
    }
    if (!Double.isFinite(lambda)) {
      throw new ConfigException("lambda", "must be finite, got " + lambda);
    }
    if (rank < 0) {
      throw new ConfigException("rank", "must be 0 (as the inputs) or above, got " + rank);
    }
  }

  /** With the usual fraction of outliers, and the merged delta W as it is. */
  public AdapterMerge(String type, double density, int rank, long seed) {
    this(type, density, DEFAULT_GAMMA, 1, rank, seed);
  }

  /** The density of a type that nobody set: PEFT has none, these are the publications'. */
  public static double defaultDensity(String type) {
    return switch (type) {
      case "breadcrumbs", "breadcrumbs_svd", "breadcrumbs_ties", "breadcrumbs_ties_svd" -> 0.9;
      case "pcb", "pcb_svd", "knots" -> 0.2;
      default -> 0.5;
    };
  }

  /** The same with other numbers. */
  public AdapterMerge with(double newDensity, double newLambda) {
    return new AdapterMerge(type, newDensity, gamma, newLambda, rank, seed);
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

  /** What becomes of what adapters hold besides LoRA. */
  public enum Heads {
    /** Trained copies of modules, such as task heads, become their weighted mean. */
    MEAN,
    /** They are left out: adapters of different tasks, each with a head of its own. */
    DROP
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
  public Summary merge(
      List<Path> adapters, List<Double> weights, Path out, Heads heads, boolean force) {
    MergedAdapter merged = merge(AdapterSet.read(adapters, force), weights, heads);
    AdapterDirectory.write(out, merged.config(), merged.tensors());
    return merged.summary();
  }

  /** The same without writing anything. */
  public Summary check(List<Path> adapters, List<Double> weights, Heads heads, boolean force) {
    return merge(AdapterSet.read(adapters, force), weights, heads).summary();
  }

  /**
   * Merges in memory.
   *
   * @param weights one for each adapter, finite
   */
  public MergedAdapter merge(AdapterSet set, List<Double> weights, Heads heads) {
    List<LoraAdapter> adapters = set.adapters();
    if (adapters.size() != weights.size()) {
      throw new ConfigException(
          "weights", "one is needed for each of " + adapters.size() + " adapters, got " + weights);
    }
    for (double weight : weights) {
      if (!Double.isFinite(weight)) {
        throw new ConfigException("weight", "must be finite, got " + weight);
      }
    }
    List<String> notes = new ArrayList<>();
    SortedSet<String> names = new TreeSet<>(ParameterLayout.UTF8_ORDER);
    adapters.forEach(adapter -> names.addAll(adapter.modules().keySet()));
    SortedMap<String, LoraModule> modules =
        new ModuleMerge(this).merge(names, adapters, weights, notes);
    SortedMap<String, TensorData> tensors =
        heads == Heads.DROP
            ? new TreeMap<>(ParameterLayout.UTF8_ORDER)
            : others(adapters, weights, notes);
    modules.forEach(
        (name, module) -> {
          put(tensors, name + ".lora_A.weight", List.of(module.rank(), module.in()), module.a());
          put(tensors, name + ".lora_B.weight", List.of(module.out(), module.rank()), module.b());
        });
    int most = modules.values().stream().mapToInt(LoraModule::rank).max().orElse(0);
    notes.forEach(LOG::info);
    ObjectNode config = config(adapters, modules, most);
    if (heads == Heads.DROP) {
      config.putNull("modules_to_save");
    }
    return new MergedAdapter(config, tensors, new Summary(modules.size(), most, notes));
  }

  private static void put(
      SortedMap<String, TensorData> tensors, String name, List<Integer> shape, float[] values) {
    tensors.put(name, TensorData.ofFloats(name, shape, values));
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
                  + ", unlike the others; merge adapters of different tasks with heads drop, which leaves"
                  + " trained copies of modules out");
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
