package org.sparkpeft.merge.method;

import org.sparkpeft.core.vector.ParameterLayout;

/** What makes up for entries dropped at random. */
public enum Rescale {
  /** Division by the probability of being kept, as published: right on average. */
  PROBABILITY,
  /**
   * Each tensor regains its L1 norm from before (mergekit): right in size, for small tensors too.
   */
  L1;

  /**
   * Rescales what {@link #PROBABILITY} gave.
   *
   * @param before values before dropping
   * @param after values after dropping, divided by their probability; may be changed
   */
  float[] apply(ParameterLayout layout, float[] before, float[] after) {
    if (this == PROBABILITY) {
      return after;
    }
    for (ParameterLayout.Entry entry : layout.entries()) {
      double kept = 0;
      double all = 0;
      for (int i = entry.offset(); i < entry.end(); i++) {
        all += Math.abs(before[i]);
        after[i] = after[i] == 0 ? 0 : before[i];
        kept += Math.abs(after[i]);
      }
      for (int i = entry.offset(); i < entry.end() && kept > 0; i++) {
        after[i] = (float) (after[i] * (all / kept));
      }
    }
    return after;
  }
}
