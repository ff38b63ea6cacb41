package org.sparkpeft.tests.support;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.sparkpeft.core.io.SafetensorsWriter;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.random.Philox;

/** A vision transformer with random weights, of grey images of 8 x 8 pixels in four patches. */
public final class TinyVit {
  /** Pixels of a side. */
  public static final int SIDE = 8;

  private static final int HIDDEN = 16;
  private static final int LAYERS = 2;
  private static final int PATCH = 4;
  private static final ObjectMapper JSON = new ObjectMapper();

  private TinyVit() {}

  /** Writes the model in the Hugging Face layout. */
  public static Path write(Path folder) {
    try {
      Files.createDirectories(folder);
      Files.write(
          folder.resolve("config.json"),
          JSON.writeValueAsBytes(
              Map.of(
                  "model_type",
                  "vit",
                  "architectures",
                  List.of("ViTModel"),
                  "hidden_size",
                  HIDDEN,
                  "num_hidden_layers",
                  LAYERS,
                  "num_attention_heads",
                  2,
                  "intermediate_size",
                  2 * HIDDEN,
                  "hidden_act",
                  "gelu",
                  "image_size",
                  SIDE,
                  "patch_size",
                  PATCH,
                  "num_channels",
                  1)));
      Files.write(
          folder.resolve("preprocessor_config.json"),
          JSON.writeValueAsBytes(
              Map.of(
                  "image_processor_type",
                  "ViTImageProcessor",
                  "do_resize",
                  false,
                  "num_channels",
                  1,
                  "image_mean",
                  List.of(0.5),
                  "image_std",
                  List.of(0.5))));
      SafetensorsWriter.write(folder.resolve("model.safetensors"), TensorData.byName(weights()));
      return folder;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static List<TensorData> weights() {
    List<TensorData> tensors = new ArrayList<>();
    int patches = (SIDE / PATCH) * (SIDE / PATCH);
    random(tensors, "embeddings.cls_token", 1, 1, HIDDEN);
    random(tensors, "embeddings.position_embeddings", 1, 1 + patches, HIDDEN);
    random(tensors, "embeddings.patch_embeddings.projection.weight", HIDDEN, 1, PATCH, PATCH);
    random(tensors, "embeddings.patch_embeddings.projection.bias", HIDDEN);
    for (int layer = 0; layer < LAYERS; layer++) {
      String prefix = "encoder.layer." + layer + ".";
      for (String part : List.of("query", "key", "value")) {
        linear(tensors, prefix + "attention.attention." + part, HIDDEN, HIDDEN);
      }
      linear(tensors, prefix + "attention.output.dense", HIDDEN, HIDDEN);
      linear(tensors, prefix + "intermediate.dense", 2 * HIDDEN, HIDDEN);
      linear(tensors, prefix + "output.dense", HIDDEN, 2 * HIDDEN);
      norm(tensors, prefix + "layernorm_before");
      norm(tensors, prefix + "layernorm_after");
    }
    norm(tensors, "layernorm");
    return tensors;
  }

  private static void linear(List<TensorData> tensors, String name, int out, int in) {
    random(tensors, name + ".weight", out, in);
    random(tensors, name + ".bias", out);
  }

  private static void random(List<TensorData> tensors, String name, Integer... shape) {
    int size = Arrays.stream(shape).reduce(1, Math::multiplyExact);
    float[] values = Philox.of(17, "tiny-vit", Philox.hash(name)).gaussian(size, 0.3);
    tensors.add(TensorData.ofFloats(name, List.of(shape), values));
  }

  private static void norm(List<TensorData> tensors, String name) {
    float[] ones = new float[HIDDEN];
    Arrays.fill(ones, 1);
    tensors.add(TensorData.ofFloats(name + ".weight", List.of(HIDDEN), ones));
    tensors.add(TensorData.ofFloats(name + ".bias", List.of(HIDDEN), new float[HIDDEN]));
  }
}
