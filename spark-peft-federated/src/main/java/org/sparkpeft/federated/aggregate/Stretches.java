package org.sparkpeft.federated.aggregate;

import java.io.Serializable;
import java.util.Arrays;
import java.util.BitSet;
import java.util.function.Predicate;
import java.util.stream.IntStream;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.TaskVector;

/**
 * Parts of a flat vector that a client may not have trained at all, such as an expert's or a task's
 * factors: slices of tensors along their first axis. The mean of one is taken over the clients that
 * trained it, each of which says so with one bit; a copy that was never used counts for nothing.
 * Immutable.
 */
public final class Stretches implements Serializable {
  private static final long serialVersionUID = 1L;

  /** Every client trains everything. */
  public static final Stretches NONE = new Stretches(new int[0], new int[0]);

  private final int[] from;
  private final int[] to;

  private Stretches(int[] from, int[] to) {
    this.from = from;
    this.to = to;
  }

  /**
   * The slices of some tensors, in the order of the layout.
   *
   * @param sliced whether a tensor, by its name, consists of such parts
   */
  public static Stretches of(ParameterLayout layout, Predicate<String> sliced) {
    IntStream.Builder from = IntStream.builder();
    IntStream.Builder to = IntStream.builder();
    for (ParameterLayout.Entry entry : layout.entries()) {
      if (sliced.test(entry.name())) {
        int rows = entry.shape().isEmpty() ? 1 : entry.shape().get(0);
        int size = entry.size() / rows;
        for (int row = 0; row < rows; row++) {
          from.add(entry.offset() + row * size);
          to.add(entry.offset() + (row + 1) * size);
        }
      }
    }
    return new Stretches(from.build().toArray(), to.build().toArray());
  }

  /** Number of parts. */
  public int count() {
    return from.length;
  }

  /** First entry of a part. */
  int from(int part) {
    return from[part];
  }

  /** Entry after a part's last. */
  int to(int part) {
    return to[part];
  }

  /** The parts in which an entry is not zero. */
  public BitSet touched(TaskVector vector) {
    BitSet touched = new BitSet(count());
    for (int part = 0; part < count(); part++) {
      for (int i = from[part]; i < to[part]; i++) {
        if (vector.get(i) != 0) {
          touched.set(part);
          break;
        }
      }
    }
    return touched;
  }

  /** All parts. */
  public BitSet all() {
    BitSet all = new BitSet(count());
    all.set(0, count());
    return all;
  }

  /**
   * Parts from {@link BitSet#toByteArray}.
   *
   * @throws FormatException if there are more than this has
   */
  public BitSet parts(byte[] bytes) {
    BitSet parts = bytes.length <= (count() + 7) / 8 ? BitSet.valueOf(bytes) : new BitSet();
    if (bytes.length > (count() + 7) / 8 || parts.length() > count()) {
      throw new FormatException(
          "trained parts", bytes.length + " bytes name more than the " + count() + " there are");
    }
    return parts;
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof Stretches that
        && Arrays.equals(from, that.from)
        && Arrays.equals(to, that.to);
  }

  @Override
  public int hashCode() {
    return Arrays.hashCode(from);
  }

  @Override
  public String toString() {
    return "Stretches[" + count() + "]";
  }
}
