package org.sparkpeft.federated.track;

import java.awt.Color;

/**
 * The colours of a chart. The chart library draws with the stand-in {@link #color()}; the exported
 * SVG then gets the style sheet's variable instead, so that one drawing suits light and dark.
 */
enum Ink {
  TEXT(1, "--muted"),
  GRID(2, "--grid"),
  FIRST(3, "--c1"),
  SECOND(4, "--c2"),
  THIRD(5, "--c3"),
  FOURTH(6, "--c4");

  static final Color NONE = new Color(0, 0, 0, 0);

  private final int shade;
  private final String variable;

  Ink(int shade, String variable) {
    this.shade = shade;
    this.variable = variable;
  }

  Color color() {
    return new Color(shade, shade, shade);
  }

  /** As the SVG export spells {@link #color()}. */
  String exported() {
    return "rgb(" + shade + "," + shade + "," + shade + ")";
  }

  /** As CSS spells it. */
  String css() {
    return "var(" + variable + ")";
  }
}
