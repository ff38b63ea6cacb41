package org.sparkpeft.core.peft.reparam;

import java.util.BitSet;
import java.util.List;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.io.DType;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.random.TorchGenerator;

/**
 * Places in a weight {@code [out, in]}. Here one number, {@code row * in + column}; in files {@code
 * [2, n]}, rows and columns.
 */
final class Locations {
  private Locations() {}

  /**
   * The places that Hugging Face draws for a seed.
   *
   * @param key the setting to change when there are too many
   * @throws ConfigException if the weight has fewer entries, or too many to imitate PyTorch
   */
  static int[] ofSeed(ModuleSpec layer, String key, long count, long seed) {
    long size = (long) layer.out() * layer.in();
    if (count < 1 || count > size) {
      throw new ConfigException(
          key,
          "gives "
              + count
              + " trained entries of the "
              + size
              + " of "
              + layer.path()
              + "; must be 1.."
              + size);
    }
    if (size > TorchGenerator.MAX_PERMUTATION) {
      throw new ConfigException(
          key,
          layer.path()
              + " has "
              + size
              + " entries; the places that a seed implies are known up to "
              + TorchGenerator.MAX_PERMUTATION
              + ", so the adapter file must hold them");
    }
    return new TorchGenerator(seed).permutation((int) size, (int) count);
  }

  /** As files have them. */
  static TensorData toFile(String name, ModuleSpec layer, int[] places) {
    long[] pairs = new long[2 * places.length];
    for (int i = 0; i < places.length; i++) {
      pairs[i] = places[i] / layer.in();
      pairs[places.length + i] = places[i] % layer.in();
    }
    return TensorData.ofLongs(name, List.of(2, places.length), pairs, DType.I32);
  }

  /**
   * @param tensor {@code [2, n]}; Hugging Face saves floating point numbers on Windows
   * @throws FormatException if a place is outside the weight or there twice
   */
  static int[] ofFile(String source, ModuleSpec layer, TensorData tensor) {
    long[] pairs = integers(tensor);
    int[] places = new int[pairs.length / 2];
    BitSet seen = new BitSet();
    for (int i = 0; i < places.length; i++) {
      long row = pairs[i];
      long column = pairs[places.length + i];
      if (row < 0 || row >= layer.out() || column < 0 || column >= layer.in()) {
        throw new FormatException(
            source,
            tensor.name()
                + " has the place ("
                + row
                + ", "
                + column
                + ") outside of a weight of "
                + layer.out()
                + " x "
                + layer.in());
      }
      places[i] = Math.toIntExact(row * layer.in() + column);
      if (seen.get(places[i])) {
        throw new FormatException(
            source, tensor.name() + " has the place (" + row + ", " + column + ") twice");
      }
      seen.set(places[i]);
    }
    return places;
  }

  private static long[] integers(TensorData tensor) {
    if (!tensor.dtype().isFloating()) {
      return tensor.toLongs();
    }
    float[] values = tensor.toFloats();
    long[] integers = new long[values.length];
    for (int i = 0; i < values.length; i++) {
      integers[i] = (long) values[i];
    }
    return integers;
  }
}
