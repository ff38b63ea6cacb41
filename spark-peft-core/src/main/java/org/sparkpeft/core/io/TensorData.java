package org.sparkpeft.core.io;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Collection;
import java.util.List;
import java.util.Objects;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.vector.ParameterLayout;

/**
 * A named tensor as stored: element type, shape and row-major little-endian bytes, in memory or in
 * a mapped file. At most 2 GiB. Immutable as long as nobody changes the bytes it was made from.
 */
public final class TensorData {
  private final String name;
  private final DType dtype;
  private final List<Integer> shape;
  private final ByteBuffer raw;

  private TensorData(String name, DType dtype, List<Integer> shape, ByteBuffer raw) {
    this.name = name;
    this.dtype = dtype;
    this.shape = List.copyOf(shape);
    this.raw = raw.slice().asReadOnlyBuffer();
    long expected;
    try {
      expected = Math.multiplyExact(Shapes.count(this.shape), (long) dtype.bytes());
    } catch (ArithmeticException e) {
      throw new IllegalArgumentException(name + " " + shape + " is too large to count", e);
    }
    if (expected != this.raw.remaining()) {
      throw new IllegalArgumentException(
          name
              + " "
              + dtype
              + " "
              + shape
              + " takes "
              + expected
              + " bytes, got "
              + this.raw.remaining());
    }
  }

  /**
   * A tensor over the bytes of {@code raw} from position to limit, without a copy.
   *
   * @param raw little-endian, row-major; its byte order setting does not matter
   * @throws IllegalArgumentException if their number is not that of the shape
   */
  public static TensorData of(String name, DType dtype, List<Integer> shape, ByteBuffer raw) {
    return new TensorData(name, dtype, shape, raw);
  }

  /** A float32 tensor with a copy of {@code values}. */
  public static TensorData ofFloats(String name, List<Integer> shape, float[] values) {
    return ofFloats(name, shape, values, DType.F32);
  }

  /** A floating tensor; values are rounded to nearest, ties to even, if {@code dtype} is narrow. */
  public static TensorData ofFloats(String name, List<Integer> shape, float[] values, DType dtype) {
    return new TensorData(name, dtype, shape, Elements.ofFloats(dtype, values));
  }

  /**
   * An integer or boolean tensor.
   *
   * @throws IllegalArgumentException if a value does not fit {@code dtype}
   */
  public static TensorData ofLongs(String name, List<Integer> shape, long[] values, DType dtype) {
    return new TensorData(name, dtype, shape, Elements.ofLongs(dtype, values));
  }

  /**
   * The tensors by name, in the UTF-8 order of names that {@link ParameterLayout} uses.
   *
   * @throws IllegalArgumentException if two have the same name
   */
  public static SortedMap<String, TensorData> byName(Collection<TensorData> tensors) {
    SortedMap<String, TensorData> map = new TreeMap<>(ParameterLayout.UTF8_ORDER);
    for (TensorData tensor : tensors) {
      if (map.put(tensor.name, tensor) != null) {
        throw new IllegalArgumentException("two tensors are named " + tensor.name);
      }
    }
    return map;
  }

  public String name() {
    return name;
  }

  public DType dtype() {
    return dtype;
  }

  /** Dimensions; empty for a scalar. */
  public List<Integer> shape() {
    return shape;
  }

  /** Number of elements. */
  public int elements() {
    return raw.remaining() / dtype.bytes();
  }

  /** A read-only little-endian view of the bytes, row-major. */
  public ByteBuffer raw() {
    return raw.duplicate().order(ByteOrder.LITTLE_ENDIAN);
  }

  /** The same tensor under another name; shares the bytes. */
  public TensorData withName(String newName) {
    return new TensorData(newName, dtype, shape, raw);
  }

  /**
   * The values, row-major: F16 and BF16 widened exactly, F64 rounded to float.
   *
   * @throws DataException if the elements are integers
   */
  public float[] toFloats() {
    requireFloating(name, dtype);
    float[] values = new float[elements()];
    Elements.toFloats(dtype, raw, values, 0);
    return values;
  }

  /**
   * The values of an integer or boolean tensor, row-major.
   *
   * @throws DataException if the elements are floating point numbers
   */
  public long[] toLongs() {
    if (dtype.isFloating()) {
      throw new DataException(
          "tensor " + name + " holds " + dtype + " values where integers are needed");
    }
    return Elements.toLongs(dtype, raw);
  }

  static void requireFloating(String name, DType dtype) {
    if (!dtype.isFloating()) {
      throw new DataException(
          "tensor "
              + name
              + " holds "
              + dtype
              + " values where floating point numbers are needed (F64, F32, F16 or BF16); quantised"
              + " weights have to be dequantised first");
    }
  }

  /** Equal when name, type, shape and every byte are. */
  @Override
  public boolean equals(Object other) {
    return other instanceof TensorData that
        && name.equals(that.name)
        && dtype == that.dtype
        && shape.equals(that.shape)
        && raw.equals(that.raw);
  }

  @Override
  public int hashCode() {
    return Objects.hash(name, dtype, shape);
  }

  @Override
  public String toString() {
    return name + " " + dtype + " " + shape;
  }
}
