package org.sparkpeft.core.metric;

import java.util.List;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * Word error rate as {@code jiwer} has it: words to substitute, delete and insert, over the words
 * of the reference, both summed over all texts; above 1 where much is inserted. Words are what
 * spaces part, after runs of several white-space characters became one space; case and punctuation
 * count. With no word in any reference it is the number of words inserted.
 */
final class WordErrorRate {
  private static final Pattern SPACES = Pattern.compile("\\s\\s+", Pattern.UNICODE_CHARACTER_CLASS);

  private WordErrorRate() {}

  static Share of(String said, String reference) {
    List<String> wanted = words(reference);
    return new Share(edits(words(said), wanted), wanted.size());
  }

  private static List<String> words(String text) {
    return Stream.of(SPACES.matcher(text).replaceAll(" ").strip().split(" "))
        .filter(word -> !word.isEmpty())
        .toList();
  }

  /** Levenshtein's distance, in the memory of one row. */
  private static int edits(List<String> a, List<String> b) {
    int[] row = new int[b.size() + 1];
    for (int j = 0; j < row.length; j++) {
      row[j] = j;
    }
    for (int i = 1; i <= a.size(); i++) {
      int diagonal = row[0];
      row[0] = i;
      for (int j = 1; j < row.length; j++) {
        int substituted = diagonal + (a.get(i - 1).equals(b.get(j - 1)) ? 0 : 1);
        diagonal = row[j];
        row[j] = Math.min(substituted, 1 + Math.min(row[j], row[j - 1]));
      }
    }
    return row[b.size()];
  }
}
