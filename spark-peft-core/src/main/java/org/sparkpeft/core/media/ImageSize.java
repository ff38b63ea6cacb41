package org.sparkpeft.core.media;

import com.fasterxml.jackson.databind.JsonNode;

/**
 * The size an image gets.
 *
 * @param height pixels from top to bottom
 * @param width pixels from left to right
 * @param shortestEdge whether only the shorter side becomes {@code height} and the other follows
 */
record ImageSize(int height, int width, boolean shortestEdge) {
  /** Largest side of an image for a model. */
  static final int MAX_SIDE = 1 << 13;

  /**
   * Reads {@code {"height": h, "width": w}}, {@code {"shortest_edge": s}}, or a number.
   *
   * @param numberIsShortest what a single number means
   * @param fallback side of a square when absent
   */
  static ImageSize of(Settings settings, String key, boolean numberIsShortest, int fallback) {
    JsonNode size = settings.json().path(key);
    if (!size.isObject()) {
      int side = settings.count(key, fallback, MAX_SIDE);
      return new ImageSize(side, side, numberIsShortest);
    }
    Settings inner = new Settings(settings.source() + ", " + key, size);
    if (inner.has("shortest_edge") && size.size() == 1) {
      int side = inner.count("shortest_edge", fallback, MAX_SIDE);
      return new ImageSize(side, side, true);
    }
    if (!inner.has("height") || !inner.has("width") || size.size() != 2) {
      throw settings.wrong(key, "{\"height\", \"width\"} or {\"shortest_edge\"}");
    }
    return new ImageSize(
        inner.count("height", fallback, MAX_SIDE), inner.count("width", fallback, MAX_SIDE), false);
  }

  /** {@code [height, width]} that an image of the given size gets. */
  int[] of(int imageHeight, int imageWidth) {
    if (!shortestEdge) {
      return new int[] {height, width};
    }
    int shorter = Math.min(imageHeight, imageWidth);
    int longer = (int) ((long) height * Math.max(imageHeight, imageWidth) / shorter);
    return imageHeight <= imageWidth ? new int[] {height, longer} : new int[] {longer, height};
  }
}
