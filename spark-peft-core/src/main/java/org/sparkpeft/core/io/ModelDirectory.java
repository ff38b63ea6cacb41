package org.sparkpeft.core.io;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.sparkpeft.core.error.DataException;

/**
 * A base model in the Hugging Face layout: {@code config.json}; {@code model.safetensors}, or
 * {@code model.safetensors.index.json} with the shards it lists; and usually {@code
 * tokenizer.json}.
 */
public final class ModelDirectory {
  /** What says how images or sound become numbers. */
  public static final String PREPROCESSOR = "preprocessor_config.json";

  private static final String CONFIG = StoredModel.CONFIG;
  private static final String GENERATION = "generation_config.json";
  private static final String WEIGHTS = StoredModel.WEIGHTS;
  private static final String INDEX = StoredModel.INDEX;

  /** Bytes at each end of a tensor that count for the fingerprint. */
  private static final int SAMPLE_BYTES = 64;

  private final Path path;
  private final ObjectNode config;

  private ModelDirectory(Path path, ObjectNode config) {
    this.path = path;
    this.config = config;
  }

  /**
   * Opens a directory; weights are read only when asked for.
   *
   * @throws DataException if config.json or the weights are missing
   * @throws org.sparkpeft.core.error.FormatException if config.json is malformed
   */
  public static ModelDirectory open(Path dir) {
    StoredModel.requireComplete(FileSource.LOCAL, dir.toString());
    return new ModelDirectory(dir, Json.readObject(dir.resolve(CONFIG), Json.MAX_CONFIG_BYTES));
  }

  /**
   * Opens what a user names: {@code bundled:NAME}, a model that comes with the program, or the path
   * of a directory.
   *
   * @throws DataException if there is no such model
   */
  public static ModelDirectory resolve(String reference) {
    return open(
        BundledModel.isBundled(reference) ? BundledModel.resolve(reference) : Path.of(reference));
  }

  public Path path() {
    return path;
  }

  /** A copy of {@code config.json}, an object. */
  public JsonNode config() {
    return config.deepCopy();
  }

  /**
   * {@code generation_config.json}, if the directory has one.
   *
   * @throws org.sparkpeft.core.error.FormatException if it is malformed
   */
  public Optional<JsonNode> generationConfig() {
    Path file = path.resolve(GENERATION);
    return Files.isRegularFile(file)
        ? Optional.of(Json.readObject(file, Json.MAX_CONFIG_BYTES))
        : Optional.empty();
  }

  /** {@code tokenizer.json}, if the directory has one. */
  public Optional<Path> tokenizer() {
    return Optional.of(path.resolve(StoredModel.TOKENIZER)).filter(Files::isRegularFile);
  }

  /**
   * {@code preprocessor_config.json}, if the directory has one.
   *
   * @throws org.sparkpeft.core.error.FormatException if it is malformed
   */
  public Optional<JsonNode> preprocessor() {
    Path file = path.resolve(PREPROCESSOR);
    return Files.isRegularFile(file)
        ? Optional.of(Json.readObject(file, Json.MAX_CONFIG_BYTES))
        : Optional.empty();
  }

  /** Tokenizer, generation and preprocessing files that this directory has. */
  public List<Path> companionFiles() {
    return StoredModel.COMPANIONS.stream().map(path::resolve).filter(Files::isRegularFile).toList();
  }

  /**
   * Opens the weights; the caller closes them. A single file is preferred to an index, as Hugging
   * Face does.
   *
   * @throws DataException if a shard, or a tensor of the index, is missing
   * @throws org.sparkpeft.core.error.FormatException if a file is malformed
   */
  public WeightSource weights() {
    return openWeights();
  }

  private ShardedWeights openWeights() {
    Path single = path.resolve(WEIGHTS);
    return Files.isRegularFile(single)
        ? ShardedWeights.ofFile(single)
        : ShardedWeights.ofIndex(path.resolve(INDEX));
  }

  /**
   * Identity of the model: SHA-256 over {@code config.json} with sorted keys and, for each tensor,
   * name, type, shape and the first and last 64 bytes. Cheap, because only a few pages of the
   * weights are read; independent of formatting and of how the weights are cut into shards. It
   * tells different models and differently trained copies apart, but is no proof against someone
   * who alters single weights on purpose.
   */
  public String fingerprint() {
    Sha256 sha = new Sha256();
    sha.update(Json.sortedAndIndented(config));
    try (ShardedWeights weights = openWeights()) {
      for (String name : weights.names()) {
        TensorInfo info = weights.info(name);
        sha.update(name).update(info.dtype().name()).update(info.shape().toString());
        List<ByteBuffer> views = weights.views(name);
        if (!views.isEmpty()) {
          ByteBuffer first = views.get(0);
          ByteBuffer last = views.get(views.size() - 1);
          sha.update(first.slice(0, Math.min(SAMPLE_BYTES, first.limit())));
          int tail = Math.min(SAMPLE_BYTES, last.limit());
          sha.update(last.slice(last.limit() - tail, tail));
        }
      }
    }
    return sha.hex();
  }

  /**
   * Writes a model directory atomically, for example an adapter fused into its base. An earlier
   * model directory of that name is replaced.
   *
   * @param target the new directory
   * @param config {@code config.json}; its {@code torch_dtype} is set to the type of the weights if
   *     they have one in common
   * @param weights all tensors by name
   * @param companions files copied as they are, for example {@link #companionFiles()} of the base
   * @throws DataException if {@code target} holds anything but a model directory's files
   * @throws java.io.UncheckedIOException if it cannot be written; an earlier directory is then
   *     unchanged
   */
  public static ModelDirectory save(
      Path target, JsonNode config, SortedMap<String, TensorData> weights, List<Path> companions) {
    OutputFolders.requireReplaceable(target, CONFIG);
    Set<DType> types =
        weights.values().stream()
            .map(TensorData::dtype)
            .filter(DType::isFloating)
            .collect(Collectors.toSet());
    byte[] json = Json.sortedAndIndented(withDtype(config, types));
    AtomicFiles.replaceDirectory(
        target,
        dir -> {
          Files.write(dir.resolve(CONFIG), json);
          SafetensorsWriter.write(dir.resolve(WEIGHTS), weights);
          for (Path companion : companions) {
            Files.copy(companion, dir.resolve(companion.getFileName()));
          }
        });
    return open(target);
  }

  /**
   * Refuses a folder that {@link #save} would not replace either.
   *
   * @param target a folder of {@code source}
   * @throws DataException if it holds anything but a model directory's files
   */
  public static void requireReplaceable(FileSource source, String target) {
    OutputFolders.requireReplaceable(source, target, CONFIG);
  }

  /**
   * What belongs beside weights, by file name: {@code config.json} with the type of the weights,
   * and the index if there are several shards.
   *
   * @param config {@code config.json}
   * @param dtype type of the weights
   * @param shardOf file name of each tensor
   * @param totalBytes bytes of all tensors
   */
  public static SortedMap<String, byte[]> descriptions(
      JsonNode config, DType dtype, SortedMap<String, String> shardOf, long totalBytes) {
    SortedMap<String, byte[]> files = new TreeMap<>();
    files.put(CONFIG, Json.sortedAndIndented(withDtype(config, Set.of(dtype))));
    if (Set.copyOf(shardOf.values()).size() > 1) {
      ObjectNode index = JsonNodeFactory.instance.objectNode();
      index.putObject("metadata").put("total_size", totalBytes);
      ObjectNode map = index.putObject("weight_map");
      shardOf.forEach(map::put);
      files.put(INDEX, Json.sortedAndIndented(index));
    }
    return files;
  }

  /** Loaders that follow the config would otherwise round float32 weights to the old type. */
  private static JsonNode withDtype(JsonNode config, Set<DType> types) {
    if (types.size() != 1 || !(config.deepCopy() instanceof ObjectNode copy)) {
      return config;
    }
    String name = torchName(types.iterator().next());
    List<String> keys = Stream.of("torch_dtype", "dtype").filter(copy::has).toList();
    (keys.isEmpty() ? List.of("torch_dtype") : keys).forEach(key -> copy.put(key, name));
    return copy;
  }

  private static String torchName(DType type) {
    return type == DType.BF16
        ? "bfloat16"
        : "float" + type.name().substring(1).toLowerCase(Locale.ROOT);
  }
}
