package org.sparkpeft.core.metric;

import java.math.BigDecimal;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Whether two solutions end in the same number, as those of GSM8K are judged (Cobbe et al. 2021,
 * arXiv 2110.14168): the last number after the last {@code ####}, or of the whole text where there
 * is none. Commas between digits and a dollar sign before them are left out, and numbers are
 * compared by value: {@code $1,250.00} is {@code 1250}. A text without a number is never right.
 */
final class Gsm8kAnswer {
  private static final String MARK = "####";

  /** More digits than any answer has; longer runs of digits are no number. */
  private static final int MOST_CHARACTERS = 64;

  // A minus after a digit, a letter or a closing bracket is a subtraction.
  private static final Pattern NUMBER =
      Pattern.compile("((?<![\\w)])-\\s?)?\\$?(?:\\d[\\d,]*(?:\\.\\d+)?|\\.\\d+)");

  private Gsm8kAnswer() {}

  static Share of(String said, String reference) {
    Optional<BigDecimal> wanted = number(reference);
    Optional<BigDecimal> found = number(said);
    return Share.right(
        wanted.isPresent() && found.isPresent() && wanted.get().compareTo(found.get()) == 0);
  }

  static Optional<BigDecimal> number(String text) {
    int mark = text.lastIndexOf(MARK);
    Matcher matcher = NUMBER.matcher(mark < 0 ? text : text.substring(mark + MARK.length()));
    String last = "";
    while (matcher.find()) {
      last = matcher.group();
    }
    String digits = last.replaceAll("[$,\\s]", "");
    return digits.isEmpty() || digits.length() > MOST_CHARACTERS
        ? Optional.empty()
        : Optional.of(new BigDecimal(digits));
  }
}
