package org.sparkpeft.federated.cli;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.io.DType;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.io.StoredTensor;
import org.sparkpeft.federated.config.MergeKind;
import org.sparkpeft.federated.config.MergeRecipe;
import org.sparkpeft.federated.config.MergeValue;
import org.sparkpeft.merge.method.Average;
import org.sparkpeft.merge.method.BlockwiseMethod;
import org.sparkpeft.merge.method.Breadcrumbs;
import org.sparkpeft.merge.method.Combination;
import org.sparkpeft.merge.method.Dare;
import org.sparkpeft.merge.method.Della;
import org.sparkpeft.merge.method.ModelStock;
import org.sparkpeft.merge.method.MultiSlerp;
import org.sparkpeft.merge.method.Rescale;
import org.sparkpeft.merge.method.Share;
import org.sparkpeft.merge.method.Slerp;
import org.sparkpeft.merge.method.TaskArithmetic;
import org.sparkpeft.merge.method.Ties;
import org.sparkpeft.merge.spark.MergedTensor;

/** A recipe and the models it names as tensors to merge. */
final class CheckpointRecipe {
  private static final Pattern LAYER =
      Pattern.compile("(.*\\.)?(layers?|h|blocks?)\\.(\\d{1,6})\\.(.*)");

  private static final List<String> DEPTH_KEYS =
      List.of("num_hidden_layers", "n_layer", "num_layers");

  private final MergeRecipe recipe;
  private final MergeKind kind;
  private final Map<String, ModelDirectory> directories = new LinkedHashMap<>();
  private final Map<String, SortedMap<String, StoredTensor>> stored = new LinkedHashMap<>();

  CheckpointRecipe(MergeRecipe recipe) {
    this.recipe = recipe;
    this.kind =
        MergeKind.named(recipe.method())
            .orElseThrow(
                () ->
                    new ConfigException(
                        "method",
                        "checkpoints merge by one of "
                            + String.join(", ", MergeKind.names())
                            + ", got "
                            + recipe.method()));
    if (kind.needsBase() && recipe.base().isEmpty()) {
      throw new ConfigException(
          "base", kind.spelling() + " merges differences to a base model; name it");
    }
    List<String> paths = new ArrayList<>(recipe.paths());
    if (!recipe.base().isEmpty()) {
      paths.add(recipe.base());
    }
    for (String path : paths) {
      if (!directories.containsKey(path)) {
        ModelDirectory directory = ModelDirectory.resolve(path);
        directories.put(path, directory);
        stored.put(path, directory.storedTensors());
      }
    }
  }

  /** The model that gives configuration and tokenizer. */
  ModelDirectory reference() {
    String path = recipe.base().isEmpty() ? recipe.paths().get(0) : recipe.base();
    return Objects.requireNonNull(directories.get(path));
  }

  /** config.json of the result. */
  JsonNode config() {
    JsonNode config = reference().config();
    if (!recipe.slices().isEmpty() && config instanceof ObjectNode object) {
      DEPTH_KEYS.stream().filter(object::has).forEach(key -> object.put(key, slicedDepth()));
    }
    return config;
  }

  private int slicedDepth() {
    return recipe.slices().stream()
        .mapToInt(slice -> slice.sources().get(0).to() - slice.sources().get(0).from())
        .sum();
  }

  List<MergedTensor> tensors() {
    return recipe.slices().isEmpty() ? whole() : sliced();
  }

  private List<MergedTensor> whole() {
    List<MergeRecipe.Model> models = new ArrayList<>(recipe.models());
    if (kind == MergeKind.SLERP && models.size() == 1 && !recipe.base().isEmpty()) {
      models.add(0, new MergeRecipe.Model(recipe.base(), Map.of()));
    }
    if (kind == MergeKind.SLERP && !recipe.base().isEmpty() && models.size() == 2) {
      // t = 0 is the base, wherever it stands in the list.
      models.sort(
          (a, b) ->
              Boolean.compare(b.path().equals(recipe.base()), a.path().equals(recipe.base())));
    } else if (kind.needsBase()) {
      // A base among the models, as mergekit's examples have it, adds nothing.
      models.removeIf(model -> model.path().equals(recipe.base()));
    }
    requireEnough(models.size());
    SortedMap<String, StoredTensor> reference =
        tensorsOf(recipe.base().isEmpty() ? models.get(0).path() : recipe.base());
    models.forEach(model -> requireSame(reference, tensorsOf(model.path()), model.path()));
    int layers = layers(reference.keySet());
    List<MergedTensor> merged = new ArrayList<>();
    reference.forEach(
        (name, tensor) ->
            merged.add(
                tensor(name, depth(name, layers), tensor, name, models, List.of(), Map.of())));
    return merged;
  }

  private void requireEnough(int models) {
    if (models < 2 && kind != MergeKind.PASSTHROUGH) {
      throw new ConfigException(
          "models", "a merge needs at least two models, besides the base; got " + models);
    }
    if (kind == MergeKind.SLERP && models != 2) {
      throw new ConfigException("models", "slerp takes two models, got " + models);
    }
    if (kind == MergeKind.PASSTHROUGH && models != 1) {
      throw new ConfigException("models", "passthrough takes one model, got " + models);
    }
  }

  private SortedMap<String, StoredTensor> tensorsOf(String path) {
    return Objects.requireNonNull(stored.get(path), path);
  }

  private static void requireSame(
      SortedMap<String, StoredTensor> reference,
      SortedMap<String, StoredTensor> other,
      String path) {
    List<String> different = new ArrayList<>();
    Set<String> names = new TreeSet<>(reference.keySet());
    names.addAll(other.keySet());
    for (String name : names) {
      StoredTensor a = reference.get(name);
      StoredTensor b = other.get(name);
      if (a == null || b == null || !a.shape().equals(b.shape())) {
        different.add(
            name
                + " is "
                + (b == null ? "missing" : b.shape())
                + ", elsewhere "
                + (a == null ? "missing" : a.shape()));
      }
    }
    if (!different.isEmpty()) {
      int shown = Math.min(5, different.size());
      throw new DataException(
          path
              + " is no model of the same architecture: "
              + String.join("; ", different.subList(0, shown))
              + (shown < different.size() ? "; and " + (different.size() - shown) + " more" : ""));
    }
  }

  private static int layers(Set<String> names) {
    int most = 0;
    for (String name : names) {
      Matcher matcher = LAYER.matcher(name);
      if (matcher.matches()) {
        most = Math.max(most, Integer.parseInt(matcher.group(3)) + 1);
      }
    }
    return most;
  }

  /** 0 for what comes before the layers, 1 for what comes after. */
  private static double depth(String name, int layers) {
    Matcher matcher = LAYER.matcher(name);
    if (matcher.matches()) {
      return layers < 2 ? 0 : Integer.parseInt(matcher.group(3)) / (double) (layers - 1);
    }
    return name.matches(".*(embed|wte|wpe).*") ? 0 : 1;
  }

  /**
   * One tensor.
   *
   * @param original its name in the models
   * @param settings of models and slice, more particular than the recipe's
   */
  private MergedTensor tensor(
      String name,
      double depth,
      StoredTensor like,
      String original,
      List<MergeRecipe.Model> models,
      List<String> originals,
      Map<String, MergeValue> settings) {
    DType dtype = dtype(like);
    if (!like.dtype().isFloating() || kind == MergeKind.PASSTHROUGH) {
      return MergedTensor.copy(name, like, like.dtype().isFloating() ? dtype : like.dtype());
    }
    List<StoredTensor> sources = new ArrayList<>();
    List<Share> shares = new ArrayList<>();
    Setting setting = new Setting(name, depth, settings);
    for (int i = 0; i < models.size(); i++) {
      String from = originals.isEmpty() ? original : originals.get(i);
      StoredTensor source = Objects.requireNonNull(tensorsOf(models.get(i).path()).get(from), from);
      sources.add(source);
      shares.add(setting.share(models.get(i), i));
    }
    if (setting.on("normalize")
        && kind != MergeKind.LINEAR
        && combination() == Combination.LINEAR) {
      shares = normalized(shares);
    }
    @Nullable StoredTensor base = kind.needsBase() ? tensorsOf(recipe.base()).get(original) : null;
    if (kind.needsBase() && base == null) {
      throw new DataException(recipe.base() + " has no " + original);
    }
    return new MergedTensor(name, like.shape(), dtype, sources, base, method(setting), shares);
  }

  private static List<Share> normalized(List<Share> shares) {
    double total = shares.stream().mapToDouble(Share::weight).sum();
    double by = Math.abs(total) < 1e-8 ? 1 : total;
    return shares.stream()
        .map(s -> new Share(s.weight() / by, s.density(), s.gamma(), s.epsilon()))
        .toList();
  }

  private DType dtype(StoredTensor like) {
    return switch (recipe.options().dtype()) {
      case "float32" -> DType.F32;
      case "float16" -> DType.F16;
      case "bfloat16" -> DType.BF16;
      default -> like.dtype() == DType.F64 ? DType.F32 : like.dtype();
    };
  }

  private Combination combination() {
    return switch (kind) {
      case TIES, DARE_TIES, DELLA, BREADCRUMBS_TIES -> Combination.TIES;
      default -> Combination.LINEAR;
    };
  }

  private BlockwiseMethod method(Setting setting) {
    double lambda = setting.value("lambda");
    Combination combination = combination();
    boolean normalize = setting.on("normalize");
    if (combination == Combination.TIES && !normalize) {
      combination = Combination.TIES_SUM;
    }
    long seed = recipe.options().seed();
    Rescale rescale = recipe.options().rescale().equals("l1") ? Rescale.L1 : Rescale.PROBABILITY;
    if (!setting.on("rescale")) {
      rescale = Rescale.NONE;
    }
    return switch (kind) {
      case LINEAR -> normalize ? new Average() : new TaskArithmetic(1);
      case TASK_ARITHMETIC -> new TaskArithmetic(lambda);
      case TIES ->
          new Ties(
              1,
              recipe.options().trim().equals("tensor"),
              lambda,
              normalize ? Ties.Convention.MERGEKIT : Ties.Convention.SUM);
      case DARE_LINEAR, DARE_TIES -> new Dare(1, lambda, combination, rescale, seed);
      case DELLA, DELLA_LINEAR -> new Della(0.5, 0, lambda, combination, rescale, seed);
      case BREADCRUMBS, BREADCRUMBS_TIES -> new Breadcrumbs(1, 0, lambda, combination);
      case SLERP -> new Slerp(0.5);
      case MULTI_SLERP -> new MultiSlerp();
      case MODEL_STOCK -> new ModelStock();
      case PASSTHROUGH -> throw new IllegalStateException("a passthrough is copied");
    };
  }

  /** Parameters where one tensor is concerned. */
  private final class Setting {
    private final String tensor;
    private final double depth;
    private final Map<String, MergeValue> particular;

    Setting(String tensor, double depth, Map<String, MergeValue> particular) {
      this.tensor = tensor;
      this.depth = depth;
      this.particular = particular;
    }

    boolean on(String key) {
      return value(key) != 0;
    }

    double value(String key) {
      return value(key, Map.of());
    }

    double value(String key, Map<String, MergeValue> own) {
      for (Map<String, MergeValue> level : List.of(own, particular, recipe.parameters())) {
        Optional<Double> value =
            Optional.ofNullable(level.get(key)).flatMap(v -> v.at(tensor, depth));
        if (value.isPresent()) {
          return value.get();
        }
      }
      return kind.absent(key, recipe.mergekit());
    }

    Share share(MergeRecipe.Model model, int index) {
      Map<String, MergeValue> own = model.parameters();
      if (kind == MergeKind.SLERP) {
        double t = value("t");
        return Share.of(index == 0 ? 1 - t : t);
      }
      double density = kind.parameters().contains("density") ? value("density", own) : 1;
      return new Share(
          value("weight", own),
          density,
          kind.parameters().contains("gamma") ? value("gamma", own) : 0,
          kind.parameters().contains("epsilon") ? value("epsilon", own) : 0);
    }
  }

  private List<MergedTensor> sliced() {
    SortedMap<String, MergedTensor> merged = new TreeMap<>();
    int layers = slicedDepth();
    int next = 0;
    int count = recipe.slices().size();
    for (int s = 0; s < count; s++) {
      MergeRecipe.Slice slice = recipe.slices().get(s);
      int length = slice.sources().get(0).to() - slice.sources().get(0).from();
      List<MergeRecipe.Source> sources = sources(slice, length);
      List<MergeRecipe.Model> models =
          sources.stream()
              .map(
                  source -> {
                    Map<String, MergeValue> own = new TreeMap<>();
                    recipe.models().stream()
                        .filter(m -> m.path().equals(source.model().path()))
                        .forEach(m -> own.putAll(m.parameters()));
                    own.putAll(source.model().parameters());
                    return new MergeRecipe.Model(source.model().path(), own);
                  })
              .toList();
      requireEnough(models.size());
      for (StoredTensor like : tensorsOf(models.get(0).path()).values()) {
        Matcher matcher = LAYER.matcher(like.name());
        if (matcher.matches()) {
          int layer = Integer.parseInt(matcher.group(3)) - sources.get(0).from();
          if (layer >= 0 && layer < length) {
            add(merged, slice, sources, models, matcher, layer, next + layer, layers, like);
          }
        } else if (s == (depth(like.name(), layers) == 0 ? 0 : count - 1)) {
          requireAll(models, sources, like, like.name());
          merged.put(
              like.name(),
              tensor(
                  like.name(),
                  depth(like.name(), layers),
                  like,
                  like.name(),
                  models,
                  List.of(),
                  slice.parameters()));
        }
      }
      next += length;
    }
    for (int layer = 0; layer < layers; layer++) {
      String part = "." + layer + ".";
      if (merged.keySet().stream().noneMatch(name -> name.contains(part))) {
        throw new DataException("layer " + layer + " of the result is in none of the models");
      }
    }
    return new ArrayList<>(merged.values());
  }

  private void add(
      SortedMap<String, MergedTensor> merged,
      MergeRecipe.Slice slice,
      List<MergeRecipe.Source> sources,
      List<MergeRecipe.Model> models,
      Matcher matcher,
      int layer,
      int place,
      int layers,
      StoredTensor like) {
    List<String> originals = new ArrayList<>();
    for (MergeRecipe.Source source : sources) {
      originals.add(renamed(matcher, source.from() + layer));
    }
    for (int i = 0; i < originals.size(); i++) {
      requireAll(List.of(models.get(i)), sources, like, originals.get(i));
    }
    String name = renamed(matcher, place);
    double depth = layers < 2 ? 0 : place / (double) (layers - 1);
    merged.put(
        name, tensor(name, depth, like, originals.get(0), models, originals, slice.parameters()));
  }

  private List<MergeRecipe.Source> sources(MergeRecipe.Slice slice, int length) {
    List<MergeRecipe.Source> sources = new ArrayList<>(slice.sources());
    for (MergeRecipe.Source source : sources) {
      if (source.to() - source.from() != length) {
        throw new ConfigException(
            "slices", "the sources of a slice need as many layers each, got " + slice.sources());
      }
    }
    if (kind == MergeKind.SLERP && !recipe.base().isEmpty()) {
      sources.sort(
          (a, b) ->
              Boolean.compare(
                  b.model().path().equals(recipe.base()), a.model().path().equals(recipe.base())));
    } else if (kind.needsBase()) {
      sources.removeIf(source -> source.model().path().equals(recipe.base()));
    }
    return sources;
  }

  private void requireAll(
      List<MergeRecipe.Model> models,
      List<MergeRecipe.Source> sources,
      StoredTensor like,
      String name) {
    for (MergeRecipe.Model model : models) {
      StoredTensor tensor = tensorsOf(model.path()).get(name);
      if (tensor == null || !tensor.shape().equals(like.shape())) {
        throw new DataException(
            model.path()
                + " has "
                + (tensor == null ? "no " + name : name + " of shape " + tensor.shape())
                + "; "
                + sources.get(0).model().path()
                + " has "
                + like.shape());
      }
    }
  }

  private static String renamed(Matcher matcher, int layer) {
    return Optional.ofNullable(matcher.group(1)).orElse("")
        + matcher.group(2)
        + "."
        + layer
        + "."
        + matcher.group(4);
  }
}
