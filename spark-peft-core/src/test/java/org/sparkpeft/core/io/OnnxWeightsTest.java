package org.sparkpeft.core.io;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.sun.management.ThreadMXBean;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.error.FormatException;

class OnnxWeightsTest {
  private static final byte[] SIX = OnnxBytes.floats(1, 2, 3, 4, 5, 6);

  @TempDir Path dir;

  private OnnxWeights open(byte[] bytes) throws IOException {
    Path file = dir.resolve("model.onnx");
    Files.deleteIfExists(file);
    return OnnxWeights.open(Files.write(file, bytes));
  }

  private static byte[] graph(byte[]... initializers) {
    OnnxBytes graph = new OnnxBytes();
    for (byte[] initializer : initializers) {
      graph.bytes(5, initializer);
    }
    return graph.asModel();
  }

  private static byte[] sample() {
    return new OnnxBytes()
        .bytes(1, OnnxBytes.matMul("/encoder/layer.0/dense/MatMul", "x", "onnx::MatMul_7"))
        .bytes(1, OnnxBytes.matMul("/encoder/MatMul_1", "q", "k"))
        .text(2, "torch-jit-export")
        .bytes(5, OnnxBytes.tensor("onnx::MatMul_7", 1, SIX, 2, 3))
        .bytes(5, OnnxBytes.tensor("onnx::Add_8", 1, OnnxBytes.floats(9), 1))
        .bytes(5, OnnxBytes.tensor("embeddings.weight", 1, SIX, 3, 2))
        .bytes(5, OnnxBytes.tensor("position_ids", 7, new byte[16], 1, 2))
        .bytes(
            5,
            new OnnxBytes()
                .bytes(1, new OnnxBytes().varint(1).varint(300).done())
                .number(2, 1)
                .bytes(4, new byte[1196])
                .fixed32(4, 8)
                .text(8, "packed")
                .done())
        .bytes(5, new OnnxBytes().number(2, 1).text(8, "scalar").fixed32(4, 0.5f).done())
        .asModel();
  }

  @Test
  void readsInitialisersUnderTheirHuggingFaceNames() throws IOException {
    OnnxWeights weights = open(sample());
    assertThat(weights.names())
        .containsExactly(
            "embeddings.weight", "encoder.layer.0.dense.weight", "onnx::Add_8", "packed", "scalar");
    assertThat(weights.shape("embeddings.weight")).isEqualTo(List.of(3, 2));
    assertThat(weights.floats("embeddings.weight")).containsExactly(1, 2, 3, 4, 5, 6);
    assertThat(weights.shape("encoder.layer.0.dense.weight")).isEqualTo(List.of(3, 2));
    assertThat(weights.floats("encoder.layer.0.dense.weight")).containsExactly(1, 4, 2, 5, 3, 6);
    assertThat(weights.floats("scalar")).containsExactly(0.5f);
    assertThat(weights.shape("packed")).isEqualTo(List.of(1, 300));
    float[] packed = weights.floats("packed");
    assertThat(packed[298]).isZero();
    assertThat(packed[299]).isEqualTo(8);
    for (String name : weights.names()) {
      assertThat(weights.tensor(name).toFloats()).isEqualTo(weights.floats(name));
    }
    assertThatThrownBy(() -> weights.floats("position_ids")).isInstanceOf(DataException.class);
  }

  static Stream<Arguments> malformed() {
    byte[] ok = OnnxBytes.tensor("a", 1, SIX, 6);
    return Stream.of(
        Arguments.of("empty", new byte[0], "no graph"),
        Arguments.of("no graph", new OnnxBytes().number(1, 6).done(), "no graph"),
        Arguments.of(
            "two graphs",
            new OnnxBytes().bytes(7, new byte[0]).bytes(7, new byte[0]).done(),
            "two graphs"),
        Arguments.of("text", "hello, world".getBytes(UTF_8), "is not one of 0, 1, 2, 5"),
        Arguments.of("field 0", new byte[] {0, 1}, "field number 0"),
        Arguments.of("group", new byte[] {0x3b}, "wire type 3"),
        Arguments.of("cut", Arrays.copyOf(sample(), 200), "left in its message"),
        Arguments.of("cut number", new byte[] {(byte) 0x80}, "cut off"),
        Arguments.of(
            "long number",
            new OnnxBytes()
                .raw((byte) 8)
                .raw(new byte[] {-1, -1, -1, -1, -1, -1, -1, -1, -1, 2})
                .done(),
            "longer than 10"),
        Arguments.of(
            "length beyond 63 bits",
            new OnnxBytes().varint(7 * 8 + 2).varint(-1).done(),
            "18446744073709551615 bytes exceeds"),
        Arguments.of(
            "length beyond the message",
            new OnnxBytes().varint(7 * 8 + 2).varint(Integer.MAX_VALUE).done(),
            "2147483647 bytes exceeds the 0 left"),
        Arguments.of("graph is a number", new OnnxBytes().number(7, 1).done(), "a message"),
        Arguments.of(
            "initialiser beyond the graph",
            new OnnxBytes()
                .bytes(7, new OnnxBytes().varint(42).varint(9).done())
                .bytes(9, ok)
                .done(),
            "9 bytes exceeds the 0 left"),
        Arguments.of("same name", graph(ok, ok), "two initialisers are named a"),
        Arguments.of("wrong size", graph(OnnxBytes.tensor("a", 1, SIX, 7)), "takes 28 bytes"),
        Arguments.of("no data", graph(OnnxBytes.tensor("a", 1, new byte[0], 2)), "holds 0"),
        Arguments.of("negative", graph(OnnxBytes.tensor("a", 1, SIX, -6)), "within 0.."),
        Arguments.of(
            "size overflow",
            graph(OnnxBytes.tensor("a", 1, SIX, 1L << 30, 1L << 30, 1L << 30)),
            "exceeds 63 bits"),
        Arguments.of("dimensions", graph(OnnxBytes.tensor("a", 1, SIX, new long[65])), "64"),
        Arguments.of(
            "values twice",
            graph(new OnnxBytes().number(2, 1).fixed32(4, 1).bytes(9, SIX).text(8, "a").done()),
            "values twice"),
        Arguments.of(
            "raw data twice",
            graph(new OnnxBytes().number(2, 1).bytes(9, SIX).bytes(9, SIX).text(8, "a").done()),
            "values twice"),
        Arguments.of(
            "raw data is a number",
            graph(new OnnxBytes().number(2, 1).number(9, 1).text(8, "a").done()),
            "must be bytes"),
        Arguments.of(
            "odd float data",
            graph(new OnnxBytes().number(2, 1).bytes(4, new byte[5]).text(8, "a").done()),
            "4-byte floats"),
        Arguments.of(
            "external", graph(new OnnxBytes().number(2, 1).number(14, 1).done()), "another file"),
        Arguments.of(
            "name", graph(new OnnxBytes().number(2, 1).bytes(8, new byte[] {-1}).done()), "UTF-8"),
        Arguments.of("long name", graph(OnnxBytes.tensor("a".repeat(70_000), 1, SIX, 6)), "65536"),
        Arguments.of(
            "one parameter twice",
            new OnnxBytes()
                .bytes(1, OnnxBytes.matMul("/a/MatMul", "x", "onnx::1"))
                .bytes(5, OnnxBytes.tensor("onnx::1", 1, SIX, 2, 3))
                .bytes(5, OnnxBytes.tensor("a.weight", 1, SIX, 3, 2))
                .asModel(),
            "stand for the parameter a.weight"));
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("malformed")
  void refuses(String name, byte[] bytes, String message) {
    assertThatThrownBy(() -> open(bytes))
        .as(name)
        .isInstanceOf(FormatException.class)
        .hasMessageContaining("model.onnx")
        .hasMessageContaining(message);
  }

  @Test
  void missingFileIsTheUsersMistake() {
    assertThatThrownBy(() -> OnnxWeights.open(dir.resolve("none.onnx")))
        .isInstanceOf(DataException.class);
  }

  @ParameterizedTest
  @ValueSource(longs = {1, 2, 3})
  void mutatedFilesAreReadOrRefused(long seed) throws IOException {
    byte[] valid = sample();
    Random random = new Random(seed);
    ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
    int refused = 0;
    for (int i = 0; i < 1000; i++) {
      byte[] bytes = Bytes.mutate(valid, random, 420);
      long before = threads.getCurrentThreadAllocatedBytes();
      try {
        OnnxWeights weights = open(bytes);
        for (String name : weights.names()) {
          assertThat((long) weights.floats(name).length)
              .isEqualTo(Shapes.count(weights.shape(name)));
        }
      } catch (FormatException e) {
        refused++;
      } catch (RuntimeException | Error e) {
        throw new AssertionError("seed " + seed + " case " + i, e);
      }
      assertThat(threads.getCurrentThreadAllocatedBytes() - before)
          .as("bytes allocated, seed %d case %d", seed, i)
          .isLessThan(2 << 20);
    }
    assertThat(refused).isBetween(300, 999);
  }
}
