package org.sparkpeft.core.io;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.SortedMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.random.Philox;

class TensorReaderTest {
  @TempDir private Path folder;

  private SortedMap<String, StoredTensor> model(DType dtype, float[] values) {
    TensorData first = TensorData.ofFloats("a", List.of(3), new float[] {7, 8, 9}, dtype);
    TensorData tensor = TensorData.ofFloats("b", List.of(values.length), values, dtype);
    TensorData ids = TensorData.ofLongs("ids", List.of(2), new long[] {4, 5}, DType.I64);
    ModelDirectory.save(
        folder,
        new ObjectMapper().createObjectNode(),
        TensorData.byName(List.of(first, tensor, ids)),
        List.of());
    return StoredModel.open(FileSource.LOCAL, folder.toString()).tensors();
  }

  private static StoredTensor tensor(SortedMap<String, StoredTensor> model, String name) {
    return Objects.requireNonNull(model.get(name));
  }

  @ParameterizedTest
  @EnumSource(
      value = DType.class,
      names = {"F64", "F32", "F16", "BF16"})
  void anyPartInAnyOrder(DType dtype) {
    float[] values = Philox.of(3, "reader").gaussian(1000, 1);
    StoredTensor stored = tensor(model(dtype, values), "b");
    assertThat(stored.elements()).isEqualTo(1000);
    float[] rounded = TensorData.ofFloats("b", List.of(1000), values, dtype).toFloats();
    for (int ahead : new int[] {0, 100, 1 << 16}) {
      try (TensorReader reader = new TensorReader(64, ahead)) {
        float[] into = new float[64];
        for (int[] part : new int[][] {{0, 64}, {64, 64}, {990, 10}, {5, 1}, {37, 63}, {999, 1}}) {
          reader.read(stored, part[0], part[1], into);
          assertThat(Arrays.copyOf(into, part[1]))
              .isEqualTo(Arrays.copyOfRange(rounded, part[0], part[0] + part[1]));
        }
        assertThatThrownBy(() -> reader.read(stored, 990, 11, into))
            .isInstanceOf(IllegalArgumentException.class);
      }
    }
  }

  @Test
  void pairsApartAreTheSameElements() {
    float[] values = Philox.of(5, "reader").gaussian(1000, 1);
    StoredTensor stored = tensor(model(DType.BF16, values), "b");
    FloatWriter writer = new FloatWriter(DType.BF16, 64);
    try (TensorReader reader = new TensorReader(64, 100)) {
      for (int[] part : new int[][] {{0, 64}, {37, 62}, {998, 2}}) {
        int n = part[1];
        float[] ordered = new float[64];
        reader.read(stored, part[0], n, ordered);
        float[] apart = new float[64];
        reader.readApart(stored, part[0], n, apart);
        for (int i = 0; i < n; i++) {
          assertThat(apart[i / 2 + i % 2 * (n / 2)]).isEqualTo(ordered[i]);
          ordered[i] *= 1.1f;
        }
        for (int i = 0; i < n; i++) {
          apart[i] *= 1.1f;
        }
        byte[] expected = new byte[2 * n];
        writer.encode(ordered, n, "x").get(expected);
        byte[] found = new byte[2 * n];
        writer.encodeApart(apart, n, "x").get(found);
        assertThat(found).isEqualTo(expected);
      }
      assertThatThrownBy(() -> reader.readApart(stored, 0, 3, new float[64]))
          .isInstanceOf(IllegalArgumentException.class);
    }
  }

  @Test
  void tensorsTakeTurns() {
    float[] values = Philox.of(4, "reader").gaussian(50, 1);
    SortedMap<String, StoredTensor> model = model(DType.F32, values);
    try (TensorReader reader = new TensorReader(8, 1024)) {
      float[] into = new float[8];
      reader.read(tensor(model, "b"), 40, 8, into);
      assertThat(into).isEqualTo(Arrays.copyOfRange(values, 40, 48));
      reader.read(tensor(model, "a"), 1, 2, into);
      assertThat(into).startsWith(8, 9);
      reader.read(tensor(model, "b"), 0, 8, into);
      assertThat(into).isEqualTo(Arrays.copyOf(values, 8));
      assertThat(reader.raw(tensor(model, "ids"), 1, 1).getLong()).isEqualTo(5);
      assertThatThrownBy(() -> reader.read(tensor(model, "ids"), 0, 1, into))
          .isInstanceOf(DataException.class)
          .hasMessageContaining("I64");
    }
  }

  @Test
  void aFileThatShrankIsNoticed() throws IOException {
    StoredTensor stored = tensor(model(DType.F32, new float[50]), "b");
    try (FileChannel channel = FileChannel.open(Path.of(stored.file()), StandardOpenOption.WRITE)) {
      channel.truncate(Files.size(Path.of(stored.file())) - 20);
    }
    try (TensorReader reader = new TensorReader(50, 0)) {
      assertThatThrownBy(() -> reader.read(stored, 0, 50, new float[50]))
          .isInstanceOf(DataException.class)
          .hasMessageContaining("ends inside b");
    }
  }

  @ParameterizedTest
  @EnumSource(
      value = DType.class,
      names = {"F32", "F16", "BF16"})
  void writesWhatATensorHolds(DType dtype) {
    FloatWriter writer = new FloatWriter(dtype, 100);
    for (int n : new int[] {1, 2, 33, 99, 100, 0}) {
      float[] values = Philox.of(n, "writer").gaussian(100, 1);
      ByteBuffer expected =
          TensorData.ofFloats("x", List.of(n), Arrays.copyOf(values, n), dtype).raw();
      assertThat(writer.encode(values, n, "x")).isEqualTo(expected);
    }
  }

  @ParameterizedTest
  @EnumSource(
      value = DType.class,
      names = {"F32", "F16", "BF16"})
  void valuesBeyondTheTypeAreRefusedWhereverTheyAre(DType dtype) {
    float limit = dtype == DType.F16 ? 65_504 : 3.38e38f;
    float beyond =
        switch (dtype) {
          case F16 -> 65_520;
          case BF16 -> Float.MAX_VALUE;
          default -> Float.POSITIVE_INFINITY;
        };
    for (int n : new int[] {1, 2, 7, 40, 99}) {
      FloatWriter writer = new FloatWriter(dtype, n);
      for (int at = 0; at < n; at++) {
        float[] values = new float[n];
        values[at] = -limit;
        assertThat(writer.encode(values, n, "x").remaining()).isEqualTo(n * dtype.bytes());
        for (float bad : new float[] {beyond, -beyond, Float.NaN}) {
          values[at] = bad;
          assertThatThrownBy(() -> writer.encode(values, n, "x"))
              .isInstanceOf(DataException.class)
              .hasMessageContaining("a value of x is " + bad);
          if (dtype == DType.BF16 && n % 2 == 0) {
            assertThatThrownBy(() -> writer.encodeApart(values, n, "x"))
                .isInstanceOf(DataException.class)
                .hasMessageContaining("a value of x is " + bad);
            values[at] = limit;
            assertThat(writer.encodeApart(values, n, "x").remaining()).isEqualTo(2 * n);
          }
        }
      }
    }
    assertThatThrownBy(() -> new FloatWriter(DType.I8, 4))
        .isInstanceOf(IllegalArgumentException.class);
  }
}
