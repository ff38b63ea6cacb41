package org.sparkpeft.merge.spark;

import java.io.Serializable;
import java.util.ArrayList;
import java.util.List;

/**
 * Consecutive entries of one tensor.
 *
 * @param tensor index of the tensor
 * @param from first entry
 * @param to after the last
 */
record Piece(int tensor, long from, long to) implements Serializable {

  /** Cuts a tensor into pieces of about {@code entries}, between rows of {@code columns}. */
  static List<Piece> cut(int tensor, long size, int columns, long entries) {
    long rows = Math.max(1, entries / columns);
    long step = rows * columns;
    List<Piece> pieces = new ArrayList<>();
    for (long from = 0; from < size; from += step) {
      pieces.add(new Piece(tensor, from, Math.min(size, from + step)));
    }
    return pieces;
  }

  long entries() {
    return to - from;
  }

  /** Groups pieces, in order, into lists of at least {@code entries} each but for the last. */
  static List<List<Piece>> group(List<Piece> pieces, long entries) {
    List<List<Piece>> groups = new ArrayList<>();
    List<Piece> open = new ArrayList<>();
    long sum = 0;
    for (Piece piece : pieces) {
      open.add(piece);
      sum += piece.entries();
      if (sum >= entries) {
        groups.add(new ArrayList<>(open));
        open.clear();
        sum = 0;
      }
    }
    if (!open.isEmpty()) {
      groups.add(open);
    }
    return groups;
  }
}
