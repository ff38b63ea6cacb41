package org.sparkpeft.merge.compress;

import java.util.Arrays;
import java.util.List;
import org.sparkpeft.core.vector.ParameterLayout;

/**
 * A tensor's mask in a range-coded stream. Each entry's bit is coded under an adaptive probability;
 * which entries share one is chosen for each tensor: all of them, each row, or each column, a row
 * being the last dimension. Ranks of a LoRA factor often differ in how much they keep, and then
 * rows or columns need fewer bits than the tensor's overall density allows.
 */
final class MaskCode {
  /** Entries that share a probability. */
  enum Sharing {
    TENSOR,
    ROW,
    COLUMN;

    static final List<Sharing> ALL = List.of(values());
  }

  /** Fewest entries for which a probability of its own can pay. */
  private static final int MIN_ENTRIES = 16;

  private final SymbolModel choices = new SymbolModel(2, 2);

  /** Writes the mask with entries {@code positions[from..to)}. */
  void write(RangeEncoder coder, int[] positions, int from, int to, ParameterLayout.Entry entry) {
    int columns = columns(entry);
    int rows = entry.size() / columns;
    Sharing sharing = Sharing.TENSOR;
    if (isMatrix(entry)) {
      sharing = cheapest(positions, from, to, entry, rows, columns).sharing();
      choices.encode(coder, Sharing.ALL.indexOf(sharing));
    }
    AdaptiveBit[] models = models(sharing, rows, columns);
    int next = from;
    int at = entry.offset();
    for (int row = 0; row < rows; row++) {
      for (int column = 0; column < columns; column++) {
        boolean kept = next < to && positions[next] == at;
        model(models, sharing, row, column).encode(coder, kept);
        if (kept) {
          next++;
        }
        at++;
      }
    }
  }

  /** Reads a mask into {@code into[0..)} and returns how many entries are kept. */
  int read(RangeDecoder coder, int[] into, ParameterLayout.Entry entry) {
    int columns = columns(entry);
    int rows = entry.size() / columns;
    Sharing sharing = Sharing.TENSOR;
    if (isMatrix(entry)) {
      int choice = choices.decode(coder);
      if (choice >= Sharing.ALL.size() || !usable(Sharing.ALL.get(choice), rows, columns)) {
        throw coder.malformed("tensor " + entry.name() + " cannot share by " + choice);
      }
      sharing = Sharing.ALL.get(choice);
    }
    AdaptiveBit[] models = models(sharing, rows, columns);
    int n = 0;
    int at = entry.offset();
    for (int row = 0; row < rows; row++) {
      for (int column = 0; column < columns; column++) {
        if (model(models, sharing, row, column).decode(coder)) {
          into[n++] = at;
        }
        at++;
      }
    }
    return n;
  }

  private static AdaptiveBit model(AdaptiveBit[] models, Sharing sharing, int row, int column) {
    return switch (sharing) {
      case TENSOR -> models[0];
      case ROW -> models[row];
      case COLUMN -> models[column];
    };
  }

  private static AdaptiveBit[] models(Sharing sharing, int rows, int columns) {
    int count =
        switch (sharing) {
          case TENSOR -> 1;
          case ROW -> rows;
          case COLUMN -> columns;
        };
    AdaptiveBit[] models = new AdaptiveBit[count];
    for (int i = 0; i < count; i++) {
      models[i] = new AdaptiveBit();
    }
    return models;
  }

  private static boolean usable(Sharing sharing, int rows, int columns) {
    return switch (sharing) {
      case TENSOR -> true;
      case ROW -> columns >= MIN_ENTRIES;
      case COLUMN -> rows >= MIN_ENTRIES;
    };
  }

  /** Bits that {@link #write} takes, in the limit of many entries. */
  static double bits(int[] positions, int from, int to, ParameterLayout.Entry entry) {
    if (!isMatrix(entry)) {
      return learntBits(entry.size(), to - from);
    }
    int columns = columns(entry);
    return cheapest(positions, from, to, entry, entry.size() / columns, columns).bits();
  }

  /** A sharing and the bits of a mask under it. */
  private record Cost(Sharing sharing, double bits) {}

  private static Cost cheapest(
      int[] positions, int from, int to, ParameterLayout.Entry entry, int rows, int columns) {
    int[] inRow = new int[rows];
    int[] inColumn = new int[columns];
    int row = 0;
    int rowStart = entry.offset();
    for (int i = from; i < to; i++) {
      int position = positions[i];
      while (position - rowStart >= columns) {
        row++;
        rowStart += columns;
      }
      inRow[row]++;
      inColumn[position - rowStart]++;
    }
    Cost best = new Cost(Sharing.TENSOR, learntBits(entry.size(), to - from));
    if (usable(Sharing.ROW, rows, columns)) {
      double byRow = learntBits(inRow, columns);
      best = byRow < best.bits() ? new Cost(Sharing.ROW, byRow) : best;
    }
    if (usable(Sharing.COLUMN, rows, columns)) {
      double byColumn = learntBits(inColumn, rows);
      best = byColumn < best.bits() ? new Cost(Sharing.COLUMN, byColumn) : best;
    }
    return best;
  }

  private static double learntBits(int[] kept, int size) {
    double[] known = new double[Arrays.stream(kept).max().orElse(0) + 1];
    double bits = 0;
    for (int k : kept) {
      if (known[k] == 0) {
        known[k] = learntBits(size, k);
      }
      bits += known[k];
    }
    return bits;
  }

  /** Bits of an adaptive code for a mask, in the limit of many entries: entropy and learning. */
  private static double learntBits(int size, int kept) {
    boolean oneSided = kept == 0 || kept == size;
    double constant = StrictMath.log(oneSided ? Math.PI : Math.PI / 2);
    return EntropyBound.positionBits(size, kept)
        + (StrictMath.log(size) + constant) / (2 * StrictMath.log(2));
  }

  private static boolean isMatrix(ParameterLayout.Entry entry) {
    int columns = columns(entry);
    return columns > 1 && columns < entry.size();
  }

  private static int columns(ParameterLayout.Entry entry) {
    List<Integer> shape = entry.shape();
    return shape.isEmpty() ? 1 : shape.get(shape.size() - 1);
  }
}
