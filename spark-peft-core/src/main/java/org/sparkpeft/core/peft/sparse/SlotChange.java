package org.sparkpeft.core.peft.sparse;

import java.util.ArrayList;
import java.util.BitSet;
import java.util.List;

/**
 * Gives some slots of a sparse delta other entries; their number never changes and no entry has two
 * slots.
 *
 * @param slots the slots that change
 * @param indices the entry that each of them gets
 */
record SlotChange(List<Integer> slots, List<Integer> indices) {

  /** Chooses entries to grow. */
  @FunctionalInterface
  interface Growth {
    /**
     * @param kept entries that keep their slots; must not be chosen
     * @param dropped entries that lose theirs, unless chosen
     * @param count most to choose
     * @return different entries, the best first
     */
    int[] choose(BitSet kept, BitSet dropped, int count);
  }

  /**
   * Drops the slots whose values are smallest in magnitude and grows as many entries. If fewer can
   * grow, fewer are dropped.
   *
   * @param size entries of the matrix
   * @param count slots to drop
   * @param spared whether an entry that is dropped and grown counts as unchanged, so that it keeps
   *     its value and optimiser state; else it starts anew in its slot
   */
  static SlotChange of(
      int[] indices, float[] values, int size, int count, boolean spared, Growth growth) {
    float[] smallness = EntrySelection.magnitudes(values);
    for (int i = 0; i < smallness.length; i++) {
      smallness[i] = -smallness[i];
    }
    int[] leaving = EntrySelection.largest(smallness, count);
    BitSet dropped = new BitSet(size);
    for (int slot : leaving) {
      dropped.set(indices[slot]);
    }
    BitSet kept = new BitSet(size);
    for (int index : indices) {
      if (!dropped.get(index)) {
        kept.set(index);
      }
    }
    int[] grown = growth.choose(kept, dropped, leaving.length);
    BitSet back = new BitSet(size);
    List<Integer> newcomers = new ArrayList<>();
    for (int index : grown) {
      if (dropped.get(index)) {
        back.set(index);
      } else {
        newcomers.add(index);
      }
    }
    List<Integer> slots = new ArrayList<>();
    List<Integer> incoming = new ArrayList<>();
    int next = 0;
    for (int slot : leaving) {
      if (back.get(indices[slot])) {
        if (!spared) {
          slots.add(slot);
          incoming.add(indices[slot]);
        }
      } else if (next < newcomers.size()) {
        slots.add(slot);
        incoming.add(newcomers.get(next++));
      }
    }
    return new SlotChange(slots, incoming);
  }

  /** The indices after the change. */
  int[] apply(int[] before) {
    int[] after = before.clone();
    for (int i = 0; i < slots.size(); i++) {
      after[slots.get(i)] = indices.get(i);
    }
    return after;
  }
}
