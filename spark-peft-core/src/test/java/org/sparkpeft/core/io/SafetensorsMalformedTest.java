package org.sparkpeft.core.io;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.error.FormatException;

class SafetensorsMalformedTest {
  @TempDir Path dir;

  private static final byte[] EMPTY = "{}".getBytes(StandardCharsets.UTF_8);

  private static Arguments header(String name, String json, int dataBytes, String message) {
    return Arguments.of(name, Bytes.safetensors(json, dataBytes), message);
  }

  private static String tensor(String dtype, String shape, String offsets) {
    return "{\"dtype\":\"" + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}";
  }

  static Stream<Arguments> malformed() {
    String two = tensor("F32", "[2]", "[0,8]");
    return Stream.of(
        Arguments.of("empty file", new byte[0], "0 bytes"),
        Arguments.of("cut length", new byte[7], "7 bytes"),
        Arguments.of("length beyond the file", Bytes.withLength(3, EMPTY, 0), "length 3 exceeds"),
        Arguments.of(
            "length beyond the cap", Bytes.withLength(100_000_001, EMPTY, 0), "limit of 2 bytes"),
        Arguments.of(
            "unsigned length", Bytes.withLength(-1, EMPTY, 0), "18446744073709551615 exceeds"),
        Arguments.of("empty header", Bytes.withLength(0, EMPTY, 0), "start with '{'"),
        header("cut header", "{\"a\":{\"dtype\":\"F32\"", 0, "not valid JSON"),
        header("array", "[]", 0, "start with '{'"),
        header("leading space", " {}", 0, "start with '{'"),
        header("text after the header", "{} x", 0, "not valid JSON"),
        header("second value", "{} {}", 0, "must end after"),
        header("duplicate tensor", "{\"a\":" + two + ",\"a\":" + two + "}", 8, "Duplicate field"),
        header(
            "duplicate key",
            "{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
            8,
            "Duplicate field"),
        header("unknown dtype", "{\"a\":" + tensor("F8", "[8]", "[0,8]") + "}", 8, "dtype F8"),
        header(
            "unknown key",
            "{\"a\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8],\"x\":1}}",
            8,
            "unknown key x"),
        header("no dtype", "{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "needs dtype"),
        header("no shape", "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", 8, "needs dtype"),
        header("no offsets", "{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, "data_offsets"),
        header("one offset", "{\"a\":" + tensor("F32", "[2]", "[8]") + "}", 8, "two data_offsets"),
        header("three offsets", "{\"a\":" + tensor("F32", "[2]", "[0,8,8]") + "}", 8, "at most 2"),
        header("fraction", "{\"a\":" + tensor("F32", "[2.0]", "[0,8]") + "}", 8, "whole number"),
        header("text as shape", "{\"a\":" + tensor("F32", "[\"2\"]", "[0,8]") + "}", 8, "whole"),
        header("null shape", "{\"a\":" + tensor("F32", "null", "[0,8]") + "}", 8, "an array"),
        header("negative", "{\"a\":" + tensor("F32", "[-2]", "[0,8]") + "}", 8, "within 0.."),
        header("wide", "{\"a\":" + tensor("U8", "[4294967296]", "[0,8]") + "}", 8, "within 0.."),
        header(
            "beyond 64 bits",
            "{\"a\":" + tensor("U8", "[1]", "[0,99999999999999999999]") + "}",
            8,
            "not valid JSON"),
        header(
            "size overflow",
            "{\"a\":" + tensor("U8", "[2147483647,2147483647,8]", "[0,8]") + "}",
            8,
            "exceeds 63 bits"),
        header(
            "byte overflow",
            "{\"a\":" + tensor("F64", "[2147483647,2147483647]", "[0,8]") + "}",
            8,
            "exceeds 63 bits"),
        header(
            "65 dimensions",
            "{\"a\":" + tensor("U8", "[1" + ",1".repeat(64) + "]", "[0,1]") + "}",
            1,
            "at most 64"),
        header("wrong size", "{\"a\":" + tensor("F32", "[3]", "[0,8]") + "}", 8, "takes 12 bytes"),
        header("end before begin", "{\"a\":" + tensor("U8", "[0]", "[8,4]") + "}", 8, "hold -4"),
        header("beyond the data", "{\"a\":" + tensor("F32", "[2]", "[0,8]") + "}", 7, "0..7"),
        header("trailing bytes", "{\"a\":" + two + "}", 9, "1 bytes after the last tensor"),
        header("data without tensors", "{}", 1, "1 bytes after the last tensor"),
        header("hole at the start", "{\"a\":" + tensor("U8", "[2]", "[1,3]") + "}", 3, "hole"),
        header(
            "hole between",
            "{\"a\":"
                + tensor("U8", "[2]", "[0,2]")
                + ",\"b\":"
                + tensor("U8", "[2]", "[3,5]")
                + "}",
            5,
            "b leaves a hole"),
        header(
            "overlap",
            "{\"a\":"
                + tensor("U8", "[2]", "[0,2]")
                + ",\"b\":"
                + tensor("U8", "[2]", "[1,3]")
                + "}",
            3,
            "b overlaps"),
        header(
            "same bytes twice",
            "{\"a\":"
                + tensor("U8", "[2]", "[0,2]")
                + ",\"b\":"
                + tensor("U8", "[2]", "[0,2]")
                + "}",
            2,
            "overlaps"),
        header("metadata number", "{\"__metadata__\":{\"a\":1}}", 0, "a string"),
        header("metadata text", "{\"__metadata__\":\"pt\"}", 0, "an object"),
        header("half a surrogate pair", "{\"\\ud800\":" + two + "}", 8, "not valid Unicode"),
        header("deep", "{\"a\":" + "[".repeat(100_000), 0, "an object"),
        header("deep in shape", "{\"a\":{\"shape\":" + "[".repeat(100_000), 0, "whole number"));
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("malformed")
  void refuses(String name, byte[] bytes, String message) throws IOException {
    Path file = Files.write(dir.resolve("x.safetensors"), bytes);
    assertThatThrownBy(() -> SafetensorsFile.open(file))
        .as(name)
        .isInstanceOf(FormatException.class)
        .hasMessageStartingWith(file + " at byte ")
        .hasMessageContaining(message);
  }

  @Test
  void missingFileIsTheUsersMistake() {
    assertThatThrownBy(() -> SafetensorsFile.open(dir.resolve("none.safetensors")))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("none.safetensors");
  }

  @Test
  void acceptsWhatIsUnusualButValid() throws IOException {
    String json =
        "{\"\\u00e9\":"
            + tensor("F32", "[]", "[3,7]")
            + ",\"empty\":"
            + tensor("F64", "[0,5]", "[3,3]")
            + ",\"b\":"
            + tensor("BOOL", "[3,1]", "[0,3]")
            + "}   ";
    byte[] bytes = Bytes.safetensors(json, 7);
    bytes[bytes.length - 7] = 1;
    bytes[bytes.length - 1] = 0x40; // 2.0f
    try (SafetensorsFile file =
        SafetensorsFile.open(Files.write(dir.resolve("x.safetensors"), bytes))) {
      assertThat(file.names()).containsExactly("b", "empty", "\u00e9");
      assertThat(file.tensor("b").toLongs()).containsExactly(1, 0, 0);
      assertThat(file.floats("empty")).isEmpty();
      assertThat(file.shape("empty")).isEqualTo(List.of(0, 5));
      assertThat(file.floats("\u00e9")).containsExactly(2f);
      assertThat(file.metadata()).isEmpty();
    }
  }
}
