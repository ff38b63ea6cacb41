package org.sparkpeft.core.io;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.SortedMap;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.sparkpeft.core.error.DataException;

class SafetensorsFileTest {
  @TempDir Path dir;

  private static float[] random(int count, long seed) {
    Random random = new Random(seed);
    float[] values = new float[count];
    for (int i = 0; i < count; i++) {
      values[i] = (float) random.nextGaussian();
    }
    return values;
  }

  @ParameterizedTest
  @ValueSource(longs = {11, 12, 13})
  void writesAndReadsTheSameTensors(long seed) {
    SortedMap<String, TensorData> tensors =
        TensorData.byName(
            List.of(
                TensorData.ofFloats("b", List.of(3, 1, 7), random(21, seed)),
                TensorData.ofFloats("a", List.of(5), random(5, seed + 1), DType.F16),
                TensorData.ofFloats("c", List.of(), random(1, seed + 2), DType.BF16),
                TensorData.ofFloats("d", List.of(2), new float[] {1e-30f, -3}, DType.F64),
                TensorData.ofLongs("i8", List.of(3), new long[] {-128, 0, 127}, DType.I8),
                TensorData.ofLongs("u8", List.of(2), new long[] {255, 1}, DType.U8),
                TensorData.ofLongs("i16", List.of(1), new long[] {-32768}, DType.I16),
                TensorData.ofLongs("i32", List.of(2), new long[] {-1, 1 << 30}, DType.I32),
                TensorData.ofLongs("i64", List.of(1), new long[] {Long.MIN_VALUE}, DType.I64),
                TensorData.ofFloats("empty", List.of(0, 4), new float[0])));
    Path path = dir.resolve("x.safetensors");
    SafetensorsWriter.write(path, tensors, Map.of("k", "v", "a", "\u00e9"));
    try (SafetensorsFile file = SafetensorsFile.open(path)) {
      assertThat(file.names()).containsExactlyElementsOf(tensors.keySet());
      assertThat(file.metadata()).isEqualTo(Map.of("k", "v", "a", "\u00e9"));
      tensors.forEach((name, tensor) -> assertThat(file.tensor(name)).isEqualTo(tensor));
      assertThat(file.floats("b")).isEqualTo(random(21, seed));
      assertThat(file.tensor("i32").toLongs()).containsExactly(-1, 1 << 30);
      assertThat(file.tensor("u8").toLongs()).containsExactly(255, 1);
      for (String name : file.names()) {
        TensorInfo info = file.info(name);
        assertThat(info.offset() % info.dtype().bytes()).as("alignment of " + name).isZero();
      }
    }
  }

  @Test
  void tensorsThatCrossRegionsAreReadWhole() {
    float[] values = random(1001, 5);
    Path path = dir.resolve("x.safetensors");
    SafetensorsWriter.write(
        path,
        TensorData.byName(
            List.of(
                TensorData.ofFloats("a", List.of(3), random(3, 1)),
                TensorData.ofFloats("b", List.of(7, 143), values),
                TensorData.ofFloats("c", List.of(7, 143), values, DType.F16))));
    try (SafetensorsFile file = SafetensorsFile.open(path, 64)) {
      assertThat(file.views("b")).hasSizeGreaterThan(50);
      assertThat(file.floats("a")).isEqualTo(random(3, 1));
      assertThat(file.floats("b")).isEqualTo(values);
      float[] halfs = file.floats("c");
      for (int i = 0; i < values.length; i++) {
        assertThat(halfs[i]).isEqualTo(Float16.toFloat(Float16.fromFloat(values[i])));
      }
      assertThatThrownBy(() -> file.tensor("b")).isInstanceOf(DataException.class);
    }
  }

  /** 5 GB on paper; the file is sparse. */
  @Test
  void filesBeyondTwoGibibytesWork() throws IOException {
    String json =
        "{\"a\":{\"dtype\":\"U8\",\"shape\":[3000,1000000],\"data_offsets\":[0,3000000000]},"
            + "\"b\":{\"dtype\":\"F16\",\"shape\":[1000,1000000],\"data_offsets\":[3000000000,5000000000]},"
            + "\"c\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[5000000000,5000000012]}}";
    byte[] head = Bytes.safetensors(json, 0);
    Path path = dir.resolve("large.safetensors");
    try (FileChannel channel =
        FileChannel.open(
            path,
            StandardOpenOption.CREATE_NEW,
            StandardOpenOption.WRITE,
            StandardOpenOption.SPARSE)) {
      channel.write(ByteBuffer.wrap(head));
      ByteBuffer last = ByteBuffer.allocate(12).order(ByteOrder.LITTLE_ENDIAN);
      last.putFloat(1.5f).putFloat(-2).putFloat(7).flip();
      channel.write(last, head.length + 5_000_000_000L);
    }
    try (SafetensorsFile file = SafetensorsFile.open(path)) {
      assertThat(file.floats("c")).containsExactly(1.5f, -2, 7);
      assertThat(file.views("a")).hasSize(2);
      assertThat(file.tensor("b").raw().get(1_999_999_999)).isZero();
      assertThatThrownBy(() -> file.tensor("a"))
          .isInstanceOf(DataException.class)
          .hasMessageContaining("3000000000 bytes");
    }
  }

  @Test
  void saysWhichTensorIsMissingOrOfTheWrongKind() {
    Path path = dir.resolve("x.safetensors");
    SafetensorsWriter.write(
        path,
        TensorData.byName(List.of(TensorData.ofLongs("a", List.of(1), new long[1], DType.U8))));
    SafetensorsFile file = SafetensorsFile.open(path);
    assertThatThrownBy(() -> file.floats("b"))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("no tensor named b among its 1");
    assertThatThrownBy(() -> file.floats("a"))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("U8");
    file.close();
    assertThatThrownBy(() -> file.tensor("a")).isInstanceOf(IllegalStateException.class);
  }

  @Test
  void theSameTensorsGiveTheSameBytes() throws IOException {
    TensorData a = TensorData.ofFloats("a", List.of(2), new float[] {1, 2});
    TensorData b = TensorData.ofFloats("b", List.of(2), new float[] {3, 4}, DType.F16);
    SafetensorsWriter.write(dir.resolve("1"), TensorData.byName(List.of(a, b)));
    SafetensorsWriter.write(dir.resolve("2"), TensorData.byName(List.of(b, a)));
    byte[] bytes = Files.readAllBytes(dir.resolve("1"));
    assertThat(bytes).isEqualTo(Files.readAllBytes(dir.resolve("2")));
    assertThat(new String(Arrays.copyOfRange(bytes, 8, bytes.length - 12), UTF_8).stripTrailing())
        .isEqualTo(
            "{\"__metadata__\":{\"format\":\"pt\"},"
                + "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
                + "\"b\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[8,12]}}");
    assertThat((bytes.length - 12) % 8).isZero();
  }

  @Test
  void refusesAmbiguousNames() {
    TensorData a = TensorData.ofFloats("a", List.of(1), new float[1]);
    SortedMap<String, TensorData> renamed = TensorData.byName(List.of(a));
    renamed.put("b", a);
    assertThatThrownBy(() -> SafetensorsWriter.write(dir.resolve("x"), renamed))
        .isInstanceOf(IllegalArgumentException.class);
    assertThatThrownBy(() -> TensorData.byName(List.of(a, a)))
        .isInstanceOf(IllegalArgumentException.class);
    assertThatThrownBy(() -> TensorData.ofFloats("a", List.of(2), new float[3]))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("takes 8 bytes, got 12");
    assertThatThrownBy(() -> TensorData.ofLongs("a", List.of(1), new long[] {256}, DType.U8))
        .isInstanceOf(IllegalArgumentException.class);
    assertThat(dir).isEmptyDirectory();
  }

  /** The reference implementation wrote these files; ours must read them and write the same. */
  @Test
  void writesTheBytesOfTheReferenceImplementation() throws IOException {
    Path golden = SharedFolder.resolve("golden");
    int compared = 0;
    List<Path> files;
    try (Stream<Path> walk = Files.walk(golden)) {
      files = walk.filter(p -> p.endsWith("adapter_model.safetensors")).sorted().toList();
    }
    for (Path path : files) {
      try (SafetensorsFile file = SafetensorsFile.open(path)) {
        SortedMap<String, TensorData> tensors =
            TensorData.byName(file.names().stream().map(file::tensor).toList());
        Path copy = dir.resolve("copy");
        SafetensorsWriter.write(copy, tensors, file.metadata());
        assertThat(Files.mismatch(copy, path)).as(path.toString()).isEqualTo(-1);
        compared++;
      }
    }
    assertThat(compared).isGreaterThan(100);
  }
}
