package org.sparkpeft.core.metric;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * ROUGE-L (Lin 2004, section 3.1) with the choices of the {@code rouge-score} package: texts in
 * lower case, words are runs of {@code [a-z0-9]}, no stemming, the longest common subsequence of
 * the whole texts, F with equal weights for precision and recall. A text without words gives 0. The
 * figure of several texts is the mean of theirs.
 */
final class RougeL {
  private static final Pattern WORD = Pattern.compile("[a-z0-9]+");

  private RougeL() {}

  static Share of(String said, String reference) {
    return Share.fraction(fMeasure(words(said), words(reference)));
  }

  private static double fMeasure(List<String> said, List<String> reference) {
    if (said.isEmpty() || reference.isEmpty()) {
      return 0;
    }
    double common = common(said, reference);
    double precision = common / said.size();
    double recall = common / reference.size();
    return common == 0 ? 0 : 2 * precision * recall / (precision + recall);
  }

  private static List<String> words(String text) {
    List<String> words = new ArrayList<>();
    Matcher matcher = WORD.matcher(text.toLowerCase(Locale.ROOT));
    while (matcher.find()) {
      words.add(matcher.group());
    }
    return words;
  }

  /** Length of the longest common subsequence, in the memory of one row. */
  private static int common(List<String> a, List<String> b) {
    int[] row = new int[b.size() + 1];
    for (String word : a) {
      int diagonal = 0;
      for (int j = 1; j < row.length; j++) {
        int above = row[j];
        row[j] = word.equals(b.get(j - 1)) ? diagonal + 1 : Math.max(above, row[j - 1]);
        diagonal = above;
      }
    }
    return row[b.size()];
  }
}
