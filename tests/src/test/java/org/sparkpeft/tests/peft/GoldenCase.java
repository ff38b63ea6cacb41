package org.sparkpeft.tests.peft;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.core.io.AdapterDirectory;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.io.SafetensorsFile;
import org.sparkpeft.core.io.SafetensorsWriter;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.model.TokenBatch;
import org.sparkpeft.core.model.TokenExamples;

/** One folder of numbers that Hugging Face PEFT computed, on a base model. */
final class GoldenCase {
  private static final ObjectMapper JSON = new ObjectMapper();

  private final Path folder;
  private final JsonNode numbers;

  private GoldenCase(Path folder, JsonNode numbers) {
    this.folder = folder;
    this.numbers = numbers;
  }

  static GoldenCase read(Path folder) {
    try {
      return new GoldenCase(folder, JSON.readTree(folder.resolve("golden.json").toFile()));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  String name() {
    return folder.getFileName().toString();
  }

  JsonNode get(String field) {
    return numbers.path(field);
  }

  String base() {
    return get("base_model").asText();
  }

  boolean isLanguageModel() {
    return !base().contains("MiniLM");
  }

  boolean hasLargeLogits() {
    return isLanguageModel() && !base().startsWith("gpt2");
  }

  /**
   * The language model's logits of the first batch, {@code logits_init} or {@code logits_final}.
   */
  TensorData logits(String name) {
    try (SafetensorsFile file = SafetensorsFile.open(folder.resolve("logits.safetensors"))) {
      return file.tensor(name);
    }
  }

  boolean isMerge() {
    return !Files.exists(folder.resolve("adapter_init"));
  }

  /** The batches' rows one after the other. */
  Rows rows() {
    return new Rows(numbers.get("batches"), base().startsWith("bart"));
  }

  /** The adapter before training, with what PEFT leaves out of its files. */
  AdapterDirectory initial(Path scratch) {
    return withUnsaved("adapter_init", "unsaved_init.safetensors", scratch.resolve("init"));
  }

  /** The adapter after training, likewise. */
  AdapterDirectory trained(Path scratch) {
    return withUnsaved("adapter_final", "unsaved_final.safetensors", scratch.resolve("final"));
  }

  /** The trained adapter as PEFT converts it to one on the untouched base. */
  Optional<AdapterDirectory> trainedAsLora() {
    Path converted = folder.resolve("adapter_final_as_lora");
    return Files.exists(converted)
        ? Optional.of(AdapterDirectory.read(converted))
        : Optional.empty();
  }

  private AdapterDirectory withUnsaved(String adapter, String unsaved, Path target) {
    AdapterDirectory saved = AdapterDirectory.read(folder.resolve(adapter));
    if (!Files.exists(folder.resolve(unsaved))) {
      return saved;
    }
    SortedMap<String, TensorData> all = new TreeMap<>(saved.tensors());
    try (SafetensorsFile more = SafetensorsFile.open(folder.resolve(unsaved))) {
      for (String name : more.names()) {
        String plain = name.replace(".default", "");
        TensorData tensor = more.tensor(name).withName(plain);
        // Without an encoder the prompt is its own embedding, and saved already.
        boolean known =
            saved.tensors().values().stream()
                .filter(t -> t.dtype().isFloating() && tensor.dtype().isFloating())
                .filter(t -> t.shape().equals(tensor.shape()))
                .anyMatch(t -> Arrays.equals(t.toFloats(), tensor.toFloats()));
        if (!known) {
          all.put(plain, tensor);
        }
      }
      Files.createDirectories(target);
      Files.copy(
          saved.path().resolve("adapter_config.json"), target.resolve("adapter_config.json"));
      SafetensorsWriter.write(
          target.resolve("adapter_model.safetensors"), TensorData.byName(all.values()));
      return AdapterDirectory.read(target);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** MiniLM with the pooler and classifier of the reference numbers, as a second shard. */
  static ModelDirectory withHead(Path base, Path head, Path folder) {
    try {
      Files.createDirectories(folder);
      Files.copy(base.resolve("config.json"), folder.resolve("config.json"));
      Files.createSymbolicLink(
          folder.resolve("base.safetensors"), base.resolve("model.safetensors").toRealPath());
      Files.createSymbolicLink(folder.resolve("head.safetensors"), head.toRealPath());
      ObjectNode map = JSON.createObjectNode();
      for (String file : List.of("base.safetensors", "head.safetensors")) {
        try (SafetensorsFile tensors = SafetensorsFile.open(folder.resolve(file))) {
          tensors.names().forEach(name -> map.put(name, file));
        }
      }
      ObjectNode index = JSON.createObjectNode();
      index.set("weight_map", map);
      Files.writeString(folder.resolve("model.safetensors.index.json"), index.toString());
      return ModelDirectory.open(folder);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** The rows of all batches as examples of one client. */
  static final class Rows implements TokenExamples {
    private final List<int[]> tokens = new ArrayList<>();
    private final List<int[]> labels = new ArrayList<>();
    private final List<Integer> tasks = new ArrayList<>();
    private final List<int[]> batches = new ArrayList<>();

    private final boolean encoderDecoder;

    Rows(JsonNode all, boolean encoderDecoder) {
      this.encoderDecoder = encoderDecoder;
      for (JsonNode batch : all) {
        int size = batch.get("input_ids").size();
        int[] indices = new int[size];
        for (int row = 0; row < size; row++) {
          indices[row] = tokens.size();
          int length = 0;
          for (JsonNode mask : batch.get("attention_mask").get(row)) {
            length += mask.intValue();
          }
          tokens.add(Arrays.copyOf(integers(batch.get("input_ids").get(row)), length));
          JsonNode label = batch.get("labels").get(row);
          labels.add(label.isArray() ? words(label, length) : new int[] {label.intValue()});
          tasks.add(batch.path("task_ids").path(row).asInt(0));
        }
        batches.add(indices);
      }
    }

    /** A decoder's labels are as long as its tokens; an encoder's need not be. */
    private int[] words(JsonNode label, int length) {
      int[] all = integers(label);
      return encoderDecoder ? all : Arrays.copyOf(all, length);
    }

    private static int[] integers(JsonNode array) {
      int[] values = new int[array.size()];
      for (int i = 0; i < values.length; i++) {
        values[i] = array.get(i).intValue();
      }
      return values;
    }

    /** One row as a language model reads it; a decoder's input begins with {@code start}. */
    TokenBatch input(int row, int start) {
      TokenBatch input = TokenBatch.of(List.of(tokens.get(row)), 0);
      if (!encoderDecoder) {
        return input;
      }
      int[] shifted = new int[labels.get(row).length];
      for (int t = 0; t < shifted.length; t++) {
        shifted[t] = t == 0 ? start : Math.max(0, labels.get(row)[t - 1]);
      }
      return input.withTarget(TokenBatch.of(List.of(shifted), 0));
    }

    /** The batch of an update: they are taken in turn. */
    List<int[]> batch(int update) {
      return List.of(batches.get(update % batches.size()));
    }

    @Override
    public int size() {
      return tokens.size();
    }

    @Override
    public int[] tokens(int index) {
      return tokens.get(index);
    }

    @Override
    public int[] pair(int index) {
      return new int[0];
    }

    @Override
    public int[] classes(int index) {
      return labels.get(index);
    }

    @Override
    public float[] values(int index) {
      return new float[0];
    }

    @Override
    public int task(int index) {
      return tasks.get(index);
    }
  }
}
