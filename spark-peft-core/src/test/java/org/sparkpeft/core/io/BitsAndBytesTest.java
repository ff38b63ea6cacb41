package org.sparkpeft.core.io;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Random;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.vector.Nf4;

class BitsAndBytesTest {
  private static final String STATE = "w.quant_state.bitsandbytes__nf4";

  private static Nf4 numbers(boolean nested) {
    Random random = new Random(3);
    float[] values = new float[70 * 33];
    for (int i = 0; i < values.length; i++) {
      values[i] = (float) random.nextGaussian();
    }
    Nf4 numbers = Nf4.quantise(values, 64);
    return nested ? numbers.nested() : numbers;
  }

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void whatIsWrittenIsReadToTheBit(boolean nested) {
    Nf4 numbers = numbers(nested);
    Map<String, TensorData> file = BitsAndBytes.write("w", List.of(70, 33), numbers);
    assertThat(file.keySet())
        .containsExactlyInAnyOrderElementsOf(
            nested
                ? List.of(
                    "w", "w.absmax", "w.quant_map", "w.nested_absmax", "w.nested_quant_map", STATE)
                : List.of("w", "w.absmax", "w.quant_map", STATE));
    assertThat(Objects.requireNonNull(file.get("w")).shape()).containsExactly(1155, 1);
    BitsAndBytes.Weight read = BitsAndBytes.read("file", "w", file);
    assertThat(read.shape()).containsExactly(70, 33);
    assertThat(read.numbers().packed()).isEqualTo(numbers.packed());
    assertThat(read.numbers().dequantise()).isEqualTo(numbers.dequantise());
  }

  @Test
  void readsTheJsonThatPythonWrites() {
    Map<String, TensorData> file =
        new TreeMap<>(BitsAndBytes.write("w", List.of(70, 33), numbers(true)));
    float offset = numbers(true).storedScales().orElseThrow().offset();
    put(
        file,
        "{\"quant_type\": \"nf4\", \"blocksize\": 64, \"dtype\": \"bfloat16\", \"shape\": [70, 33],"
            + " \"nested_blocksize\": 256, \"nested_dtype\": \"float32\", \"nested_offset\": "
            + (double) offset
            + "}");
    assertThat(BitsAndBytes.read("file", "w", file).numbers().dequantise())
        .isEqualTo(numbers(true).dequantise());
  }

  private static void put(Map<String, TensorData> file, String json) {
    byte[] bytes = json.getBytes(StandardCharsets.UTF_8);
    file.put(STATE, TensorData.of(STATE, DType.U8, List.of(bytes.length), ByteBuffer.wrap(bytes)));
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "{\"quant_type\":\"fp4\",\"blocksize\":64,\"shape\":[70,33]} | is fp4",
        "{\"quant_type\":\"nf4\",\"blocksize\":65,\"shape\":[70,33]} | blocks of 65",
        "{\"quant_type\":\"nf4\",\"blocksize\":64,\"shape\":[70,34]} | take 1190 bytes",
        "{\"quant_type\":\"nf4\",\"blocksize\":64,\"shape\":[-1]} | has the shape [-1]",
        "{\"quant_type\":\"nf4\",\"blocksize\":64} | has the shape",
        "{\"quant | is not JSON"
      })
  void refusesWhatDoesNotFit(String json, String problem) {
    Map<String, TensorData> file =
        new TreeMap<>(BitsAndBytes.write("w", List.of(70, 33), numbers(false)));
    put(file, json);
    assertThatThrownBy(() -> BitsAndBytes.read("a file", "w", file))
        .isInstanceOf(FormatException.class)
        .hasMessageContaining("a file")
        .hasMessageContaining(problem);
  }

  @Test
  void refusesOtherTablesAndMissingParts() {
    Map<String, TensorData> file =
        new TreeMap<>(BitsAndBytes.write("w", List.of(70, 33), numbers(false)));
    file.put("w.quant_map", TensorData.ofFloats("w.quant_map", List.of(16), new float[16]));
    assertThatThrownBy(() -> BitsAndBytes.read("a file", "w", file))
        .isInstanceOf(FormatException.class)
        .hasMessageContaining("w.quant_map is another table");
    file.remove("w.quant_map");
    assertThatThrownBy(() -> BitsAndBytes.read("a file", "w", file))
        .isInstanceOf(FormatException.class)
        .hasMessageContaining("lacks the tensor w.quant_map");
  }
}
