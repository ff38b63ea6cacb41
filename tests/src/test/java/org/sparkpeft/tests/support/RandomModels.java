package org.sparkpeft.tests.support;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.sparkpeft.core.io.SafetensorsWriter;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.random.Philox;

/** Models of real size with random weights, for what depends on sizes alone: memory and time. */
public final class RandomModels {
  private final Map<String, Object> config;
  private final List<TensorData> tensors = new ArrayList<>();

  private RandomModels(Map<String, Object> config) {
    this.config = config;
  }

  /** As large as MiniLM, which has 384 entries: 12 heads, four times as much in between. */
  public static Path bert(Path folder, int layers, int hidden) {
    int vocabulary = 1000;
    RandomModels model =
        new RandomModels(
            Map.of(
                "architectures",
                List.of("BertModel"),
                "model_type",
                "bert",
                "hidden_size",
                hidden,
                "num_hidden_layers",
                layers,
                "num_attention_heads",
                12,
                "intermediate_size",
                4 * hidden,
                "hidden_act",
                "gelu",
                "vocab_size",
                vocabulary,
                "max_position_embeddings",
                512,
                "type_vocab_size",
                2));
    model.add("embeddings.word_embeddings.weight", vocabulary, hidden);
    model.add("embeddings.position_embeddings.weight", 512, hidden);
    model.add("embeddings.token_type_embeddings.weight", 2, hidden);
    model.norm("embeddings.LayerNorm", hidden);
    for (int i = 0; i < layers; i++) {
      String layer = "encoder.layer." + i + ".";
      for (String part : List.of("self.query", "self.key", "self.value", "output.dense")) {
        model.linear(layer + "attention." + part, hidden, hidden);
      }
      model.norm(layer + "attention.output.LayerNorm", hidden);
      model.linear(layer + "intermediate.dense", 4 * hidden, hidden);
      model.linear(layer + "output.dense", hidden, 4 * hidden);
      model.norm(layer + "output.LayerNorm", hidden);
    }
    return model.write(folder);
  }

  /** A small Llama: heads of 64 entries, {@code intermediate} in the gated block. */
  public static Path llama(Path folder, int layers, int hidden, int intermediate, int vocabulary) {
    RandomModels model =
        new RandomModels(
            Map.of(
                "architectures",
                List.of("LlamaForCausalLM"),
                "model_type",
                "llama",
                "hidden_size",
                hidden,
                "num_hidden_layers",
                layers,
                "num_attention_heads",
                hidden / 64,
                "intermediate_size",
                intermediate,
                "hidden_act",
                "silu",
                "vocab_size",
                vocabulary,
                "max_position_embeddings",
                1024,
                "rms_norm_eps",
                1e-5));
    model.add("model.embed_tokens.weight", vocabulary, hidden);
    for (int i = 0; i < layers; i++) {
      String layer = "model.layers." + i + ".";
      for (String part : List.of("q", "k", "v", "o")) {
        model.add(layer + "self_attn." + part + "_proj.weight", hidden, hidden);
      }
      model.add(layer + "mlp.gate_proj.weight", intermediate, hidden);
      model.add(layer + "mlp.up_proj.weight", intermediate, hidden);
      model.add(layer + "mlp.down_proj.weight", hidden, intermediate);
      model.ones(layer + "input_layernorm.weight", hidden);
      model.ones(layer + "post_attention_layernorm.weight", hidden);
    }
    model.ones("model.norm.weight", hidden);
    model.add("lm_head.weight", vocabulary, hidden);
    return model.write(folder);
  }

  private void linear(String path, int out, int in) {
    add(path + ".weight", out, in);
    add(path + ".bias", out);
  }

  private void norm(String path, int size) {
    ones(path + ".weight", size);
    add(path + ".bias", size);
  }

  private void ones(String name, int size) {
    float[] values = new float[size];
    java.util.Arrays.fill(values, 1);
    tensors.add(TensorData.ofFloats(name, List.of(size), values));
  }

  private void add(String name, Integer... shape) {
    int size = List.of(shape).stream().reduce(1, Math::multiplyExact);
    float[] values = Philox.of(1, name).gaussian(size, 0.02);
    tensors.add(TensorData.ofFloats(name, List.of(shape), values));
  }

  private Path write(Path folder) {
    try {
      Files.createDirectories(folder);
      Files.write(folder.resolve("config.json"), new ObjectMapper().writeValueAsBytes(config));
      SafetensorsWriter.write(folder.resolve("model.safetensors"), TensorData.byName(tensors));
      return folder;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
