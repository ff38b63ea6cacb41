package org.sparkpeft.federated.track;

import java.util.Locale;

/** Numbers and strings as people read them. Independent of the machine's locale. */
final class Text {
  private static final String[] BYTE_UNITS = {"B", "kB", "MB", "GB", "TB", "PB"};
  private static final String NONE = "n/a";

  private Text() {}

  /** {@code text}, or its beginning with an ellipsis, at most {@code max} characters long. */
  static String cut(String text, int max) {
    if (text.length() <= max) {
      return text;
    }
    int end = max - 1;
    return text.substring(0, Character.isHighSurrogate(text.charAt(end - 1)) ? end - 1 : end) + "…";
  }

  /** {@code 12,345}. */
  static String count(long value) {
    return String.format(Locale.ROOT, "%,d", value);
  }

  /** {@code 12,345 clients}, {@code 1 client}. */
  static String count(long value, String noun) {
    return count(value) + " " + noun + (value == 1 ? "" : "s");
  }

  /** A fraction as {@code 83.4%}; three digits after the point below 0.1%. */
  static String percent(double fraction) {
    if (!Double.isFinite(fraction)) {
      return NONE;
    }
    int digits = fraction != 0 && Math.abs(fraction) < 0.001 ? 3 : 1;
    return String.format(Locale.ROOT, "%." + digits + "f%%", 100 * fraction);
  }

  /** {@code digits} digits after the point, or {@code n/a}. */
  static String decimal(double value, int digits) {
    return Double.isFinite(value) ? String.format(Locale.ROOT, "%,." + digits + "f", value) : NONE;
  }

  /** Decimal units, three significant digits: {@code 1.23 MB}. */
  static String bytes(double bytes) {
    if (!Double.isFinite(bytes)) {
      return NONE;
    }
    int unit = byteUnit(bytes);
    return (unit == 0 ? count(Math.round(bytes)) : significant(bytes / Math.pow(1000, unit)))
        + " "
        + BYTE_UNITS[unit];
  }

  /** Power of 1000 that suits {@code bytes}. */
  static int byteUnit(double bytes) {
    int unit = 0;
    while (unit < BYTE_UNITS.length - 1 && bytes / Math.pow(1000, unit) >= 999.5) {
      unit++;
    }
    return unit;
  }

  static String byteUnitName(int unit) {
    return BYTE_UNITS[unit];
  }

  /** {@code 0.42 s}, {@code 12.3 s}, {@code 3 min 12 s}, {@code 2 h 05 min}. */
  static String seconds(double seconds) {
    if (!Double.isFinite(seconds)) {
      return NONE;
    }
    if (seconds < 99.95) {
      return String.format(Locale.ROOT, seconds < 9.995 ? "%.2f s" : "%.1f s", seconds);
    }
    long whole = Math.round(seconds);
    if (whole < 3600) {
      return String.format(Locale.ROOT, "%d min %02d s", whole / 60, whole % 60);
    }
    long minutes = Math.round(seconds / 60);
    return String.format(Locale.ROOT, "%,d h %02d min", minutes / 60, minutes % 60);
  }

  /** {@code 22.7 million}, {@code 1.24 billion}, or the plain number below a million. */
  static String amount(long value) {
    if (value < 1_000_000) {
      return count(value);
    }
    return value < 1_000_000_000
        ? significant(value / 1e6) + " million"
        : significant(value / 1e9) + " billion";
  }

  private static String significant(double value) {
    return decimal(value, value < 9.995 ? 2 : value < 99.95 ? 1 : 0);
  }
}
