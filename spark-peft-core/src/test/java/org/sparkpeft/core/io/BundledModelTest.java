package org.sparkpeft.core.io;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.sparkpeft.core.error.DataException;

class BundledModelTest {
  private static final String MINILM = "bundled:all-MiniLM-L6-v2";

  @TempDir static Path cache;

  /** Two threads find an empty cache at the same time. */
  @BeforeAll
  static void prepareTwiceAtOnce() throws Exception {
    assertThat(prepareConcurrently()).hasSize(1);
  }

  private static List<Path> prepareConcurrently() throws Exception {
    CyclicBarrier start = new CyclicBarrier(2);
    Callable<Path> prepare =
        () -> {
          start.await();
          return BundledModel.resolve(MINILM, cache);
        };
    ExecutorService threads = Executors.newFixedThreadPool(2);
    try {
      List<Path> results = new ArrayList<>();
      for (Future<Path> future : threads.invokeAll(List.of(prepare, prepare))) {
        results.add(future.get());
      }
      try (Stream<Path> left = Files.list(cache.resolve("bundled"))) {
        assertThat(left).as("no leftovers").containsExactly(results.get(0));
      }
      return results.stream().distinct().toList();
    } finally {
      threads.shutdownNow();
    }
  }

  @Test
  void isACompleteModelDirectory() throws IOException {
    Path path = BundledModel.resolve(MINILM, cache);
    assertThat(path.getFileName()).hasToString("all-MiniLM-L6-v2-v2-759c3cd2b7fe");
    ModelDirectory model = ModelDirectory.open(path);
    assertThat(model.config().get("hidden_size").asInt()).isEqualTo(384);
    assertThat(model.config().get("torch_dtype").asText()).isEqualTo("float32");
    assertThat(Sha256.hex(model.tokenizer().orElseThrow()))
        .isEqualTo("da0e79933b9ed51798a3ae27893d3c5fa4a201126cef75586296df9b4d2c62a0");
    long parameters = 0;
    try (WeightSource weights = model.weights()) {
      assertThat(weights.names()).hasSize(101);
      for (String name : weights.names()) {
        parameters += Shapes.count(weights.shape(name));
      }
    }
    assertThat(parameters).isEqualTo(22_565_376);
    try (Stream<Path> files = Files.list(path)) {
      assertThat(files).hasSize(5);
    }
  }

  /** The float16 copy was rounded from the same weights by someone else's code. */
  @Test
  void roundsToTheFloat16Copy() {
    ModelDirectory reference = ModelDirectory.open(SharedFolder.resolve("models/all-MiniLM-L6-v2"));
    ModelDirectory bundled = ModelDirectory.open(BundledModel.resolve(MINILM, cache));
    try (WeightSource half = reference.weights();
        WeightSource full = bundled.weights()) {
      assertThat(full.names()).isEqualTo(half.names());
      for (String name : half.names()) {
        TensorData expected = half.tensor(name);
        assertThat(expected.dtype()).isEqualTo(DType.F16);
        assertThat(full.tensor(name).dtype()).isEqualTo(DType.F32);
        assertThat(TensorData.ofFloats(name, full.shape(name), full.floats(name), DType.F16))
            .isEqualTo(expected);
      }
    }
    for (String key :
        List.of(
            "vocab_size",
            "num_hidden_layers",
            "intermediate_size",
            "num_attention_heads",
            "max_position_embeddings",
            "type_vocab_size",
            "layer_norm_eps",
            "hidden_act",
            "pad_token_id",
            "architectures",
            "model_type")) {
      assertThat(bundled.config().get(key)).as(key).isEqualTo(reference.config().get(key));
    }
  }

  @Test
  void rebuildsADamagedCache() throws Exception {
    Path path = BundledModel.resolve(MINILM, cache);
    Path weights = path.resolve("model.safetensors");
    String intact = Sha256.hex(weights);
    byte[] bytes = Files.readAllBytes(weights);
    bytes[bytes.length / 2] ^= 1;
    Files.write(weights, bytes);
    assertThat(prepareConcurrently()).containsExactly(path);
    assertThat(Sha256.hex(weights)).isEqualTo(intact);
    Files.delete(path.resolve("tokenizer.json"));
    BundledModel.resolve(MINILM, cache);
    assertThat(path.resolve("tokenizer.json")).exists();
  }

  @Test
  void saysWhatCannotBeResolved() throws IOException {
    assertThat(BundledModel.references()).containsExactly(MINILM);
    assertThat(BundledModel.isBundled("models/bundled")).isFalse();
    assertThatThrownBy(() -> BundledModel.resolve("bundled:gpt-7", cache))
        .isInstanceOf(DataException.class)
        .hasMessageContaining(MINILM);
    Path file = Files.createFile(cache.resolve("file"));
    assertThatThrownBy(() -> BundledModel.resolve(MINILM, file))
        .isInstanceOf(UncheckedIOException.class)
        .hasMessageContaining("SPARK_PEFT_CACHE");
  }

  private static Path root(Map<String, String> properties, Map<String, String> environment) {
    return CacheFolder.root(properties::get, environment::get);
  }

  @Test
  void cacheFolderFollowsPropertyVariableXdgHome() {
    Map<String, String> all =
        Map.of("SPARK_PEFT_CACHE", "/variable", "XDG_CACHE_HOME", "/xdg", "user.home", "/home/me");
    assertThat(root(Map.of("sparkpeft.cache", "/property"), all)).hasToString("/property");
    assertThat(root(Map.of("sparkpeft.cache", " "), all)).hasToString("/variable");
    assertThat(root(Map.of(), Map.of("XDG_CACHE_HOME", "/xdg"))).hasToString("/xdg/spark-peft");
    assertThat(root(Map.of("user.home", "/home/me"), Map.of("XDG_CACHE_HOME", "relative")))
        .hasToString("/home/me/.cache/spark-peft");
    assertThatThrownBy(() -> root(Map.of("user.home", "?"), Map.of()))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("SPARK_PEFT_CACHE");
  }
}
