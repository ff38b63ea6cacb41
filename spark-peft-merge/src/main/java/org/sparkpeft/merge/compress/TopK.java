package org.sparkpeft.merge.compress;

import java.util.Arrays;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterLayout;

/**
 * Keeps the largest magnitudes, exactly as many as the density says; see {@link TopKSelection} for
 * ties and zeros.
 *
 * @param density fraction kept, in (0, 1]
 * @param perTensor choose among each tensor's entries instead of among all
 */
public record TopK(double density, boolean perTensor) implements Sparsifier {
  public TopK {
    if (!(density > 0 && density <= 1)) {
      throw new IllegalArgumentException("density must be in (0, 1], got " + density);
    }
  }

  @Override
  public Sparse sparsify(float[] values, ParameterLayout layout, Philox random) {
    return Sparse.gather(values, positions(values, layout));
  }

  /** Positions kept, ascending. */
  int[] positions(float[] values, ParameterLayout layout) {
    if (!perTensor) {
      return TopKSelection.indices(
          values, 0, values.length, TopKSelection.keptCount(density, values.length));
    }
    int[] kept = new int[values.length];
    int n = 0;
    for (ParameterLayout.Entry entry : layout.entries()) {
      int k = TopKSelection.keptCount(density, entry.size());
      int[] of = TopKSelection.indices(values, entry.offset(), entry.end(), k);
      System.arraycopy(of, 0, kept, n, of.length);
      n += of.length;
    }
    return Arrays.copyOf(kept, n);
  }
}
