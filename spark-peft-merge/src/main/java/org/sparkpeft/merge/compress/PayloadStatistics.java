package org.sparkpeft.merge.compress;

import java.util.List;

/**
 * What a payload cost and what it carried.
 *
 * @param payloadBytes all bytes, header and checksum included
 * @param boundBits the {@link EntropyBound} of its content
 * @param sections what each tensor kept, in layout order
 */
public record PayloadStatistics(int payloadBytes, double boundBits, List<Section> sections) {

  public PayloadStatistics {
    sections = List.copyOf(sections);
  }

  /**
   * What one tensor kept.
   *
   * @param tensor name of the tensor
   * @param size its entries
   * @param kept entries sent
   */
  public record Section(String tensor, int size, int kept) {
    public double density() {
      return (double) kept / size;
    }
  }

  /** Bits sent. */
  public long bits() {
    return 8L * payloadBytes;
  }

  /** Entries sent, of all tensors. */
  public long kept() {
    return sections.stream().mapToLong(Section::kept).sum();
  }

  /** Entries of all tensors. */
  public long size() {
    return sections.stream().mapToLong(Section::size).sum();
  }

  /** Bits sent above the bound, as a fraction of the bound: 0.03 is 3 % more. */
  public double overhead() {
    return bits() / boundBits - 1;
  }

  /** Bound over bits sent; 1 is perfect. */
  public double efficiency() {
    return boundBits / bits();
  }
}
