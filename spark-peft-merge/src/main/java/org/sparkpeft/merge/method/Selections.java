package org.sparkpeft.merge.method;

import java.util.ArrayList;
import java.util.List;

/** Selections of the largest magnitudes within one tensor. */
final class Selections {
  private Selections() {}

  /**
   * A rule for each vector.
   *
   * @param counts how many entries to keep of each
   */
  static List<KeepRule> within(TensorScan tensor, long[] counts) {
    List<MagnitudeSearch> searches = new ArrayList<>();
    for (long count : counts) {
      searches.add(new MagnitudeSearch(count));
    }
    while (searches.stream().anyMatch(search -> !search.isFound())) {
      MagnitudeCounts[] found = new MagnitudeCounts[counts.length];
      for (int t = 0; t < found.length; t++) {
        found[t] = new MagnitudeCounts(searches.get(t).window());
      }
      tensor.forEachBlock(
          false,
          block -> {
            for (int t = 0; t < found.length; t++) {
              if (!searches.get(t).isFound()) {
                found[t].add(block, t);
              }
            }
          });
      for (int t = 0; t < found.length; t++) {
        if (!searches.get(t).isFound()) {
          searches.get(t).narrow(found[t]);
        }
      }
    }
    return rules(tensor, searches);
  }

  /** Where the ties end that are kept. */
  private static List<KeepRule> rules(TensorScan tensor, List<MagnitudeSearch> searches) {
    long[] left = searches.stream().mapToLong(MagnitudeSearch::ties).toArray();
    long[] before = new long[left.length];
    if (searches.stream().anyMatch(search -> !search.keepsAllTies())) {
      tensor.forEachBlock(
          false,
          block -> {
            for (int t = 0; t < left.length; t++) {
              MagnitudeSearch search = searches.get(t);
              if (search.keepsAllTies() || left[t] == 0) {
                continue;
              }
              float[] values = block.values(t);
              int here = MagnitudeSearch.countEqual(values, block.length(), search.key());
              if (here >= left[t]) {
                before[t] =
                    block.from()
                        + MagnitudeSearch.afterTie(values, block.length(), search.key(), left[t]);
                left[t] = 0;
              } else {
                left[t] -= here;
              }
            }
          });
    }
    List<KeepRule> rules = new ArrayList<>();
    for (int t = 0; t < before.length; t++) {
      rules.add(searches.get(t).rule(before[t]));
    }
    return rules;
  }
}
