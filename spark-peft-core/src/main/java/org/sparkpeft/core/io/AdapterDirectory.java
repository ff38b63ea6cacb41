package org.sparkpeft.core.io;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Set;
import java.util.SortedMap;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.error.FormatException;

/**
 * An adapter in the format of Hugging Face PEFT: {@code adapter_config.json} and {@code
 * adapter_model.safetensors}, whatever the method. Tensor names are those in the file, for example
 * {@code base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.weight}: the adapter's
 * own name does not appear in them.
 */
public final class AdapterDirectory {
  /** Release of PEFT whose layout is written, unless the configuration names another. */
  public static final String PEFT_VERSION = "0.21.0";

  static final String CONFIG = "adapter_config.json";
  static final String WEIGHTS = "adapter_model.safetensors";

  private static final Set<String> TASK_TYPES =
      Set.of(
          "SEQ_CLS",
          "SEQ_2_SEQ_LM",
          "CAUSAL_LM",
          "TOKEN_CLS",
          "QUESTION_ANS",
          "FEATURE_EXTRACTION");

  private final Path path;
  private final ObjectNode config;
  private final SortedMap<String, TensorData> tensors;

  private AdapterDirectory(Path path, ObjectNode config, SortedMap<String, TensorData> tensors) {
    this.path = path;
    this.config = config;
    this.tensors = Collections.unmodifiableSortedMap(tensors);
  }

  /**
   * Reads an adapter of any method. Values stay in the mapped file until asked for.
   *
   * @throws DataException if a file is missing
   * @throws FormatException if a file is malformed, the configuration has no {@code peft_type}, or
   *     there are no tensors
   */
  public static AdapterDirectory read(Path dir) {
    requireFile(dir, CONFIG);
    requireFile(dir, WEIGHTS);
    Path configFile = dir.resolve(CONFIG);
    ObjectNode config = Json.readObject(configFile, Json.MAX_CONFIG_BYTES);
    if (text(config, "peft_type").isEmpty()) {
      throw new FormatException(
          configFile.toString(),
          "\"peft_type\" must name the method, got "
              + config.get("peft_type")
              + "; is it an adapter's configuration?");
    }
    try (SafetensorsFile file = SafetensorsFile.open(dir.resolve(WEIGHTS))) {
      if (file.names().isEmpty()) {
        throw new FormatException(file.path().toString(), "holds no tensors; export it again");
      }
      List<TensorData> tensors = new ArrayList<>();
      file.names().forEach(name -> tensors.add(file.tensor(name)));
      return new AdapterDirectory(dir, config, TensorData.byName(tensors));
    }
  }

  /**
   * An adapter that is not, or not yet, in a folder.
   *
   * @param path what to call it in messages
   * @param config HF field names and values; needs {@code peft_type}
   * @param tensors by the name in the file
   * @throws IllegalArgumentException if the configuration breaks the format, or there are no
   *     tensors
   */
  public static AdapterDirectory of(
      Path path, ObjectNode config, SortedMap<String, TensorData> tensors) {
    if (tensors.isEmpty()) {
      throw new IllegalArgumentException("an adapter needs at least one tensor");
    }
    return new AdapterDirectory(path, complete(config), tensors);
  }

  /**
   * Writes an adapter atomically; an earlier adapter in {@code dir} is replaced. The keys that
   * every adapter of PEFT has are added with PEFT's defaults where {@code config} leaves them out.
   *
   * @param config HF field names and values; needs {@code peft_type}
   * @param tensors by the name in the file; floating ones must be float32 and finite
   * @throws IllegalArgumentException if configuration or tensors break the format
   * @throws DataException if a value is not finite, or {@code dir} holds anything but an adapter
   * @throws java.io.UncheckedIOException if it cannot be written; an earlier adapter is unchanged
   */
  public static void write(Path dir, ObjectNode config, SortedMap<String, TensorData> tensors) {
    ObjectNode complete = complete(config);
    requireWritable(tensors);
    OutputFolders.requireReplaceable(dir, CONFIG);
    AtomicFiles.replaceDirectory(
        dir,
        folder -> {
          Files.write(folder.resolve(CONFIG), Json.sortedAndIndented(complete));
          SafetensorsWriter.write(folder.resolve(WEIGHTS), tensors);
        });
  }

  public Path path() {
    return path;
  }

  /** A copy of {@code adapter_config.json}. */
  public ObjectNode config() {
    return config.deepCopy();
  }

  /** The method, for example {@code LORA}. */
  public String peftType() {
    return text(config, "peft_type");
  }

  /** The tensors by name, in UTF-8 order. */
  public SortedMap<String, TensorData> tensors() {
    return tensors;
  }

  private static ObjectNode complete(ObjectNode config) {
    if (text(config, "peft_type").isEmpty()) {
      throw new IllegalArgumentException(
          "an adapter's configuration needs \"peft_type\", for example \"LORA\"");
    }
    JsonNode taskType = config.path("task_type");
    if (!taskType.isMissingNode()
        && !taskType.isNull()
        && !TASK_TYPES.contains(taskType.asText())) {
      throw new IllegalArgumentException(
          "\"task_type\" must be null or one of "
              + TASK_TYPES.stream().sorted().toList()
              + ", got "
              + taskType);
    }
    if (config.has("runtime_config")) {
      throw new IllegalArgumentException("\"runtime_config\" is not part of the format, remove it");
    }
    ObjectNode complete = config.deepCopy();
    for (String key : List.of("auto_mapping", "base_model_name_or_path", "revision", "task_type")) {
      if (!complete.has(key)) {
        complete.putNull(key);
      }
    }
    if (!complete.has("peft_version")) {
      complete.put("peft_version", PEFT_VERSION);
    }
    if (!complete.has("inference_mode")) {
      complete.put("inference_mode", true);
    }
    return complete;
  }

  private static void requireWritable(SortedMap<String, TensorData> tensors) {
    if (tensors.isEmpty()) {
      throw new IllegalArgumentException("an adapter needs at least one tensor");
    }
    for (TensorData tensor : tensors.values()) {
      if (!tensor.dtype().isFloating()) {
        continue;
      }
      if (tensor.dtype() != DType.F32) {
        throw new IllegalArgumentException("adapters are written as F32, got " + tensor);
      }
      float[] values = tensor.toFloats();
      for (int i = 0; i < values.length; i++) {
        if (!Float.isFinite(values[i])) {
          throw new DataException(
              "entry "
                  + i
                  + " of "
                  + tensor
                  + " is "
                  + values[i]
                  + "; training diverged, lower the learning rate");
        }
      }
    }
  }

  private static String text(ObjectNode config, String key) {
    return config.path(key).isTextual() ? config.path(key).textValue() : "";
  }

  private static void requireFile(Path dir, String name) {
    if (!Files.isRegularFile(dir.resolve(name))) {
      String remedy =
          Files.exists(dir.resolve("adapter_model.bin"))
              ? "its weights are pickled (adapter_model.bin); save it with safe_serialization=True"
              : "give the folder of a Hugging Face PEFT adapter";
      throw new DataException(
          dir
              + " has no "
              + name
              + ", an adapter needs "
              + CONFIG
              + " and "
              + WEIGHTS
              + "; "
              + remedy);
    }
  }
}
