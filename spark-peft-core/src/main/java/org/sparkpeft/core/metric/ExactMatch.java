package org.sparkpeft.core.metric;

import java.util.regex.Pattern;

/**
 * Whether two texts are the same, apart from white space: runs of it count as one space, and none
 * at the ends. Letter case and punctuation count.
 */
final class ExactMatch {
  private static final Pattern SPACE = Pattern.compile("\\s+", Pattern.UNICODE_CHARACTER_CLASS);

  private ExactMatch() {}

  static Share of(String said, String reference) {
    return Share.right(normalised(said).equals(normalised(reference)));
  }

  static String normalised(String text) {
    return SPACE.matcher(text).replaceAll(" ").strip();
  }
}
