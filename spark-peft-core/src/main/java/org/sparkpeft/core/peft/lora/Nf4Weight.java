package org.sparkpeft.core.peft.lora;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import java.util.List;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.nn.Embedding;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.MethodTensors;
import org.sparkpeft.core.vector.DynamicMap;
import org.sparkpeft.core.vector.Nf4;

/**
 * A linear layer's weight in a state as NF4: packed bytes, scales, and with double quantisation the
 * scales' own scales and offset. Turned into float32 step by step, by table lookups.
 */
final class Nf4Weight {
  private final ModuleSpec module;
  private final int block;
  private final boolean nested;

  Nf4Weight(ModuleSpec module, int block, boolean nested) {
    this.module = module;
    this.block = block;
    this.nested = nested;
  }

  private String name(String part) {
    return module.path() + ".nf4" + part;
  }

  private int count() {
    return Math.multiplyExact(module.in(), module.out());
  }

  void quantise(float[] weight, MethodState.Builder state) {
    Nf4 plain = Nf4.quantise(weight, block);
    Nf4 numbers = nested ? plain.nested() : plain;
    byte[] packed = numbers.packed();
    state.bytes(name(""), List.of(packed.length), packed);
    if (numbers.storedScales().isPresent()) {
      Nf4.Nested scales = numbers.storedScales().get();
      state.bytes(name(".absmax"), List.of(scales.codes().length), scales.codes());
      state.floats(name(".nested_absmax"), List.of(scales.scales().length), scales.scales());
      state.floats(name(".nested_offset"), List.of(1), new float[] {scales.offset()});
    } else {
      float[] scales = numbers.scales();
      state.floats(name(".absmax"), List.of(scales.length), scales);
    }
  }

  /** The weight {@code [out, in]}, owned by {@code step}. */
  NDArray dequantised(MethodTensors tensors, NDManager step) {
    int count = count();
    NDArray pairs = lookup(tensors.state(name("")), pairs(), 2, step); // [bytes, 2]
    NDArray scales = spread(scales(tensors, step), block, count);
    return pairs.flatten().get(":" + count).mul(scales).reshape(module.out(), module.in());
  }

  private NDArray scales(MethodTensors tensors, NDManager step) {
    NDArray stored = tensors.state(name(".absmax"));
    if (!nested) {
      return owned(stored, step);
    }
    NDArray codes = lookup(stored, DynamicMap.table(), 1, step).flatten();
    NDArray outer = owned(tensors.state(name(".nested_absmax")), step);
    return codes
        .mul(spread(outer, Nf4.NESTED_BLOCK, (int) codes.size()))
        .add(owned(tensors.state(name(".nested_offset")), step));
  }

  /** Each entry {@code times} times, the first {@code count} of all. */
  private static NDArray spread(NDArray values, int times, int count) {
    long blocks = values.size();
    return values.reshape(blocks, 1).broadcast(new Shape(blocks, times)).flatten().get(":" + count);
  }

  private static NDArray lookup(NDArray codes, float[] table, int width, NDManager step) {
    NDArray indices = owned(codes, step).toType(DataType.INT64, false);
    return Embedding.of(indices, step.create(table, new Shape(table.length / width, width)));
  }

  private static NDArray owned(NDArray tensor, NDManager step) {
    NDArray copy = tensor.duplicate();
    copy.attach(step);
    return copy;
  }

  /** Both numbers of each of the 256 bytes. */
  private static float[] pairs() {
    float[] table = Nf4.table();
    float[] pairs = new float[512];
    for (int code = 0; code < 256; code++) {
      pairs[2 * code] = table[code >> 4];
      pairs[2 * code + 1] = table[code & 0xF];
    }
    return pairs;
  }
}
