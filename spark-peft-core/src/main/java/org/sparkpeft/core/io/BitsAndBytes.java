package org.sparkpeft.core.io;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.vector.DynamicMap;
import org.sparkpeft.core.vector.Nf4;

/**
 * 4-bit weights in files, under the names of bitsandbytes: the packed bytes {@code [bytes, 1]}
 * under the weight's own name, and beside them {@code .absmax}, {@code .quant_map}, with double
 * quantisation {@code .nested_absmax} and {@code .nested_quant_map}, and the rest as JSON in the
 * bytes of {@code .quant_state.bitsandbytes__nf4}.
 */
public final class BitsAndBytes {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final String STATE = ".quant_state.bitsandbytes__nf4";
  private static final int MAX_STATE_BYTES = 1 << 16;

  private BitsAndBytes() {}

  /**
   * A weight as stored.
   *
   * @param shape of the numbers
   */
  public record Weight(List<Integer> shape, Nf4 numbers) {}

  /**
   * The tensors of one weight.
   *
   * @param name for example {@code encoder.layer.0.output.dense.weight}
   */
  public static SortedMap<String, TensorData> write(String name, List<Integer> shape, Nf4 numbers) {
    List<TensorData> tensors = new ArrayList<>();
    byte[] packed = numbers.packed();
    tensors.add(bytes(name, List.of(packed.length, 1), packed));
    tensors.add(floats(name + ".quant_map", Nf4.table()));
    ObjectNode state = JSON.createObjectNode();
    state.put("quant_type", "nf4");
    state.put("blocksize", numbers.block());
    state.put("dtype", "float32");
    ArrayNode sizes = state.putArray("shape");
    shape.forEach(sizes::add);
    if (numbers.storedScales().isPresent()) {
      Nf4.Nested nested = numbers.storedScales().get();
      tensors.add(bytes(name + ".absmax", List.of(nested.codes().length), nested.codes()));
      tensors.add(floats(name + ".nested_absmax", nested.scales()));
      tensors.add(floats(name + ".nested_quant_map", DynamicMap.table()));
      state.put("nested_blocksize", Nf4.NESTED_BLOCK);
      state.put("nested_dtype", "float32");
      state.put("nested_offset", nested.offset());
    } else {
      tensors.add(floats(name + ".absmax", numbers.scales()));
    }
    try {
      byte[] json = JSON.writeValueAsBytes(state);
      tensors.add(bytes(name + STATE, List.of(json.length), json));
    } catch (JsonProcessingException e) {
      throw new IllegalStateException("cannot happen: numbers and words", e);
    }
    return TensorData.byName(tensors);
  }

  private static TensorData bytes(String name, List<Integer> shape, byte[] bytes) {
    return TensorData.of(name, DType.U8, shape, ByteBuffer.wrap(bytes));
  }

  private static TensorData floats(String name, float[] values) {
    return TensorData.ofFloats(name, List.of(values.length), values);
  }

  /**
   * The weight of that name.
   *
   * @param source the file, for messages
   * @throws FormatException if a part is missing, of another kind of quantisation, or of a size
   *     that does not fit
   */
  public static Weight read(String source, String name, Map<String, TensorData> tensors) {
    JsonNode state = state(source, name, tensors);
    List<Integer> shape = new ArrayList<>();
    state.path("shape").forEach(size -> shape.add(size.intValue()));
    require(
        source,
        !shape.isEmpty() && shape.stream().allMatch(size -> size >= 0),
        name + " has the shape " + state.path("shape"));
    long count = count(source, name, shape);
    int block = state.path("blocksize").asInt();
    require(
        source,
        state.path("quant_type").asText().equals("nf4") && Nf4.isBlock(block),
        name
            + " is "
            + state.path("quant_type").asText()
            + " in blocks of "
            + block
            + "; only nf4 in blocks of 32 to 4096 is read");
    require(source, count <= Integer.MAX_VALUE, name + " has " + count + " numbers");
    requireTable(source, name + ".quant_map", tensors, Nf4.table());
    byte[] packed = bytes(source, name, tensors);
    try {
      if (!tensors.containsKey(name + ".nested_absmax")) {
        float[] scales = get(source, name + ".absmax", tensors).toFloats();
        return new Weight(List.copyOf(shape), Nf4.of((int) count, block, packed, scales));
      }
      require(
          source,
          state.path("nested_blocksize").asInt() == Nf4.NESTED_BLOCK,
          name + " has scales in blocks of " + state.path("nested_blocksize") + ", not 256");
      requireTable(source, name + ".nested_quant_map", tensors, DynamicMap.table());
      Nf4.Nested nested =
          new Nf4.Nested(
              bytes(source, name + ".absmax", tensors),
              get(source, name + ".nested_absmax", tensors).toFloats(),
              state.path("nested_offset").floatValue());
      return new Weight(List.copyOf(shape), Nf4.of((int) count, block, packed, nested));
    } catch (IllegalArgumentException e) {
      throw new FormatException(source, name + ": " + e.getMessage());
    }
  }

  private static long count(String source, String name, List<Integer> shape) {
    try {
      return Shapes.count(shape);
    } catch (ArithmeticException e) {
      throw new FormatException(source, name + " " + shape + " is too large to count");
    }
  }

  private static JsonNode state(String source, String name, Map<String, TensorData> tensors) {
    byte[] json = bytes(source, name + STATE, tensors);
    require(
        source,
        json.length <= MAX_STATE_BYTES,
        name + STATE + " takes " + json.length + " bytes, more than " + MAX_STATE_BYTES);
    try {
      return JSON.readTree(json);
    } catch (IOException e) {
      throw new FormatException(source, name + STATE + " is not JSON");
    }
  }

  /** Other values than usual would be computed with wrongly. */
  private static void requireTable(
      String source, String name, Map<String, TensorData> tensors, float[] expected) {
    float[] table = get(source, name, tensors).toFloats();
    boolean same = table.length == expected.length;
    for (int i = 0; same && i < table.length; i++) {
      same = Math.abs(table[i] - expected[i]) <= 1e-6;
    }
    require(source, same, name + " is another table than bitsandbytes writes");
  }

  private static byte[] bytes(String source, String name, Map<String, TensorData> tensors) {
    TensorData tensor = get(source, name, tensors);
    require(source, tensor.dtype() == DType.U8, name + " holds " + tensor.dtype() + ", not U8");
    byte[] bytes = new byte[tensor.elements()];
    tensor.raw().get(bytes);
    return bytes;
  }

  private static TensorData get(String source, String name, Map<String, TensorData> tensors) {
    TensorData tensor = tensors.get(name);
    if (tensor == null) {
      throw new FormatException(source, "lacks the tensor " + name);
    }
    return tensor;
  }

  private static void require(String source, boolean ok, String problem) {
    if (!ok) {
      throw new FormatException(source, problem);
    }
  }
}
