package org.sparkpeft.core.peft;

import java.nio.ByteBuffer;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.core.io.DType;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.vector.ParameterLayout;

/**
 * What decides a method's effect beside its trained parameters: frozen projections, masks, ranks,
 * indices. The same on every client of a round; decided on the driver, never averaged. Immutable.
 */
public final class MethodState {
  /** Of methods that are their parameters alone. */
  public static final MethodState EMPTY = new MethodState(Map.of());

  private final SortedMap<String, TensorData> tensors;

  private MethodState(Map<String, TensorData> tensors) {
    SortedMap<String, TensorData> sorted = new TreeMap<>(ParameterLayout.UTF8_ORDER);
    sorted.putAll(tensors);
    this.tensors = java.util.Collections.unmodifiableSortedMap(sorted);
  }

  /** A state of these tensors, by name. */
  public static MethodState of(Map<String, TensorData> tensors) {
    return tensors.isEmpty() ? EMPTY : new MethodState(tensors);
  }

  public boolean isEmpty() {
    return tensors.isEmpty();
  }

  public SortedMap<String, TensorData> tensors() {
    return tensors;
  }

  /**
   * @throws IllegalArgumentException if there is no such tensor
   */
  public TensorData tensor(String name) {
    return find(name)
        .orElseThrow(() -> new IllegalArgumentException("no state tensor named " + name));
  }

  public Optional<TensorData> find(String name) {
    return Optional.ofNullable(tensors.get(name));
  }

  public float[] floats(String name) {
    return tensor(name).toFloats();
  }

  /** Values of an integer tensor. */
  public int[] integers(String name) {
    long[] longs = tensor(name).toLongs();
    int[] integers = new int[longs.length];
    for (int i = 0; i < longs.length; i++) {
      integers[i] = Math.toIntExact(longs[i]);
    }
    return integers;
  }

  /** Collects tensors. */
  public static final class Builder {
    private final Map<String, TensorData> tensors = new LinkedHashMap<>();

    public Builder floats(String name, List<Integer> shape, float[] values) {
      tensors.put(name, TensorData.ofFloats(name, shape, values));
      return this;
    }

    public Builder integers(String name, List<Integer> shape, int[] values) {
      long[] longs = java.util.Arrays.stream(values).asLongStream().toArray();
      tensors.put(name, TensorData.ofLongs(name, shape, longs, DType.I32));
      return this;
    }

    /** Bytes, for packed numbers. */
    public Builder bytes(String name, List<Integer> shape, byte[] values) {
      tensors.put(name, TensorData.of(name, DType.U8, shape, ByteBuffer.wrap(values.clone())));
      return this;
    }

    public MethodState build() {
      return of(tensors);
    }
  }

  /** This state with some tensors replaced or added. */
  public MethodState with(MethodState changes) {
    Map<String, TensorData> all = new LinkedHashMap<>(tensors);
    all.putAll(changes.tensors);
    return of(all);
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof MethodState that && tensors.equals(that.tensors);
  }

  @Override
  public int hashCode() {
    return tensors.hashCode();
  }

  @Override
  public String toString() {
    return "MethodState" + tensors.values();
  }
}
