package org.sparkpeft.core.io;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.vector.ParameterLayout;

/**
 * A model in the Hugging Face layout on any file system, as {@link ModelDirectory} is one on this
 * machine: its configuration and where its tensors lie. Of the weights only headers are read.
 */
public final class StoredModel {
  static final String CONFIG = "config.json";
  static final String WEIGHTS = "model.safetensors";
  static final String INDEX = "model.safetensors.index.json";
  static final String TOKENIZER = "tokenizer.json";

  /** Files beside the weights that belong to a model and travel with a copy of it. */
  static final List<String> COMPANIONS =
      List.of(
          TOKENIZER,
          "tokenizer_config.json",
          "special_tokens_map.json",
          "added_tokens.json",
          "vocab.txt",
          "vocab.json",
          "merges.txt",
          "tokenizer.model",
          "spiece.model",
          "sentencepiece.bpe.model",
          "chat_template.jinja",
          "generation_config.json",
          "preprocessor_config.json",
          "frontend.safetensors");

  private final FileSource source;
  private final String folder;
  private final ObjectNode config;
  private final SortedMap<String, StoredTensor> tensors;

  private StoredModel(
      FileSource source,
      String folder,
      ObjectNode config,
      SortedMap<String, StoredTensor> tensors) {
    this.source = source;
    this.folder = folder;
    this.config = config;
    this.tensors = tensors;
  }

  /**
   * Opens a folder and reads the headers of its weights.
   *
   * @throws DataException if config.json, weights, a shard or a tensor of the index are missing
   * @throws FormatException if a file is malformed
   */
  public static StoredModel open(FileSource source, String folder) {
    requireComplete(source, folder);
    ObjectNode config =
        Json.readObject(source, FileSource.within(folder, CONFIG), Json.MAX_CONFIG_BYTES);
    String single = FileSource.within(folder, WEIGHTS);
    SortedMap<String, StoredTensor> tensors =
        source.isFile(single)
            ? ofFile(source, single)
            : ofIndex(source, folder, FileSource.within(folder, INDEX));
    return new StoredModel(source, folder, config, tensors);
  }

  /** Refuses what is not a folder with configuration and weights. */
  static void requireComplete(FileSource source, String folder) {
    if (!source.isDirectory(folder)) {
      throw new DataException(
          "there is no model directory " + folder + "; give the folder of a Hugging Face model");
    }
    if (!source.isFile(FileSource.within(folder, CONFIG))) {
      throw incomplete(
          folder,
          source.exists(FileSource.within(folder, AdapterDirectory.CONFIG))
              ? "it is an adapter; give the model it was trained on"
              : CONFIG + " is missing");
    }
    if (!source.isFile(FileSource.within(folder, WEIGHTS))
        && !source.isFile(FileSource.within(folder, INDEX))) {
      throw incomplete(
          folder,
          source.exists(FileSource.within(folder, "pytorch_model.bin"))
              ? "its weights are pickled (pytorch_model.bin), which is not safe to read; convert"
                  + " them to safetensors"
              : WEIGHTS + " and " + INDEX + " are both missing");
    }
  }

  private static DataException incomplete(String folder, String what) {
    return new DataException(
        folder
            + " is not a complete model directory: "
            + what
            + ". The Hugging Face layout needs "
            + CONFIG
            + ", "
            + WEIGHTS
            + " (or "
            + INDEX
            + " with its shards) and, for text, "
            + TOKENIZER);
  }

  /**
   * The tensors of one safetensors file, by name in UTF-8 order.
   *
   * @throws FormatException if it is malformed
   */
  public static SortedMap<String, StoredTensor> file(FileSource source, String file) {
    return ofFile(source, file);
  }

  private static SortedMap<String, StoredTensor> ofFile(FileSource source, String file) {
    SortedMap<String, StoredTensor> tensors = new TreeMap<>(ParameterLayout.UTF8_ORDER);
    try (ByteReader reader = source.open(file)) {
      for (TensorInfo info : SafetensorsHeader.read(file, reader).tensors().values()) {
        tensors.put(
            info.name(),
            new StoredTensor(
                file, info.name(), info.dtype(), info.shape(), info.offset(), info.bytes()));
      }
    } catch (IOException e) {
      throw new UncheckedIOException("cannot read " + file, e);
    }
    return tensors;
  }

  private static SortedMap<String, StoredTensor> ofIndex(
      FileSource source, String folder, String index) {
    Map<String, SortedMap<String, StoredTensor>> shards = new HashMap<>();
    SortedMap<String, StoredTensor> tensors = new TreeMap<>(ParameterLayout.UTF8_ORDER);
    ShardIndex.read(source, index)
        .forEach(
            (name, shard) -> {
              StoredTensor tensor =
                  shards
                      .computeIfAbsent(shard, missing -> shard(source, folder, index, missing))
                      .get(name);
              if (tensor == null) {
                throw ShardIndex.notIn(index, name, shard);
              }
              tensors.put(name, tensor);
            });
    return tensors;
  }

  private static SortedMap<String, StoredTensor> shard(
      FileSource source, String folder, String index, String name) {
    String file = FileSource.within(folder, name);
    if (!source.isFile(file)) {
      throw ShardIndex.missing(index, name);
    }
    return ofFile(source, file);
  }

  /** Where it is. */
  public String folder() {
    return folder;
  }

  /** A copy of {@code config.json}, an object. */
  public JsonNode config() {
    return config.deepCopy();
  }

  /** Where every tensor lies, by name in UTF-8 order. */
  public SortedMap<String, StoredTensor> tensors() {
    return new TreeMap<>(tensors);
  }

  /** Locations of the tokenizer, generation and preprocessing files that it has, by file name. */
  public SortedMap<String, String> companions() {
    SortedMap<String, String> found = new TreeMap<>();
    for (String name : COMPANIONS) {
      String location = FileSource.within(folder, name);
      if (source.isFile(location)) {
        found.put(name, location);
      }
    }
    return found;
  }
}
