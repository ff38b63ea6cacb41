package org.sparkpeft.federated.client;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.sparkpeft.core.data.Examples;

/**
 * Puts short texts together in sequences of at most so many tokens, each text in the fullest
 * sequence that has room for it, the longest first (best fit decreasing, as TRL's {@code bfd}). A
 * text stays whole, sees only itself, and its positions start at 0, so a packed text has the loss
 * that it has alone.
 */
final class Packing {
  private static final int IGNORED = -100;

  private Packing() {}

  /**
   * @param texts in an order that depends on their content only
   * @param most tokens of a sequence, at least as many as the longest text has
   */
  static void pack(Examples.Builder builder, List<WordTargets> texts, int most) {
    List<WordTargets> longestFirst = new ArrayList<>(texts);
    longestFirst.sort(Comparator.comparing(text -> -text.tokens().length));
    // Sequences by the room that is left.
    TreeMap<Integer, List<List<WordTargets>>> byRoom = new TreeMap<>();
    List<List<WordTargets>> all = new ArrayList<>();
    for (WordTargets text : longestFirst) {
      Map.Entry<Integer, List<List<WordTargets>>> fitting =
          byRoom.ceilingEntry(text.tokens().length);
      List<WordTargets> sequence = new ArrayList<>();
      int room = most;
      if (fitting == null) {
        all.add(sequence);
      } else {
        room = fitting.getKey();
        sequence = fitting.getValue().remove(fitting.getValue().size() - 1);
        if (fitting.getValue().isEmpty()) {
          byRoom.remove(room);
        }
      }
      sequence.add(text);
      byRoom.computeIfAbsent(room - text.tokens().length, left -> new ArrayList<>()).add(sequence);
    }
    all.forEach(sequence -> add(builder, sequence));
  }

  private static void add(Examples.Builder builder, List<WordTargets> sequence) {
    int size = sequence.stream().mapToInt(text -> text.tokens().length).sum();
    int[] tokens = new int[size];
    int[] labels = new int[size];
    int at = 0;
    for (WordTargets text : sequence) {
      int length = text.tokens().length;
      System.arraycopy(text.tokens(), 0, tokens, at, length);
      System.arraycopy(text.labels(), 0, labels, at, length);
      // Nothing predicts the first token of a text.
      Arrays.fill(labels, at, Math.min(at + 1, size), IGNORED);
      at += length;
    }
    builder.addDocuments(
        tokens, labels, sequence.stream().mapToInt(text -> text.tokens().length).toArray());
  }
}
