package org.sparkpeft.core.nn;

/** Groups of distances between two positions that share a relative position embedding. */
public final class RelativeBuckets {
  private RelativeBuckets() {}

  /**
   * T5's and MPNet's groups in both directions (Raffel et al. 2019, arXiv 1910.10683): half of them
   * for keys after the query, and of each half, half for single distances and half for ranges that
   * grow logarithmically.
   *
   * @param distance key position - query position
   * @param buckets number of groups, a multiple of 4
   * @param furthest from this distance on all share a group
   * @return 0 .. buckets - 1
   */
  public static int bothWays(int distance, int buckets, int furthest) {
    int half = buckets / 2;
    int exact = half / 2;
    int size = Math.abs(distance);
    int group = size;
    if (size >= exact) {
      float part =
          (float) Math.log((float) size / exact) / (float) Math.log((double) furthest / exact);
      group = Math.min(half - 1, exact + (int) (part * (half - exact)));
    }
    return distance > 0 ? half + group : group;
  }

  /**
   * DeBERTa v2's groups (He et al. 2020, arXiv 2006.03654): single distances up to half the number
   * of groups, then ranges that grow logarithmically.
   *
   * @param distance query position - key position
   * @param buckets groups in one direction; 0 or less for one for each distance
   * @param furthest the largest distance that is told apart
   * @return a group with the sign of {@code distance}
   */
  public static int logarithmic(int distance, int buckets, int furthest) {
    int middle = buckets / 2;
    int size = Math.abs(distance);
    if (buckets <= 0 || size <= middle) {
      return distance;
    }
    float part =
        (float) Math.log((float) size / middle)
            / (float) Math.log((double) (furthest - 1) / middle);
    int group = (int) Math.ceil(part * (middle - 1)) + middle;
    return distance < 0 ? -group : group;
  }
}
