package org.sparkpeft.federated.track;

import java.awt.AWTError;
import java.util.List;
import java.util.function.Supplier;

/** A chart with its title, explanation and legend, which stay text and so wrap and can be read. */
record Figure(String title, String caption, List<Key> keys) {

  /** One legend entry. */
  record Key(String name, Ink ink, boolean dashed) {}

  static Figure ofLines(String title, String caption, List<LineChart.Line> lines) {
    return new Figure(
        title,
        caption,
        lines.stream().map(line -> new Key(line.name(), line.ink(), line.reference())).toList());
  }

  static Figure ofBars(String title, String caption, List<BarChart.Part> parts) {
    return new Figure(
        title,
        caption,
        parts.stream().map(part -> new Key(part.name(), part.ink(), false)).toList());
  }

  void write(Html html, Supplier<Svg> drawing) {
    html.open("figure", "class", "card");
    html.open("figcaption").element("h3", title).element("p", caption).close();
    try {
      html.svg(drawing.get());
    } catch (LinkageError | InternalError | AWTError e) {
      // Java installations without fonts or without java.desktop cannot measure text. A report with
      // tables only is worth more than none, and training is over at this point.
      html.element(
          "p",
          "Not drawn: this Java installation has no fonts ("
              + e
              + "). The tables have the numbers.",
          "class",
          "note");
    }
    writeLegend(html);
    html.close();
  }

  /** The figure without a drawing, when there is nothing to draw. */
  void writeNote(Html html, String note) {
    html.open("figure", "class", "card");
    html.open("figcaption").element("h3", title).close();
    html.element("p", note, "class", "note");
    html.close();
  }

  private void writeLegend(Html html) {
    if (keys.size() < 2) {
      return;
    }
    html.open("ul", "class", "legend");
    for (Key key : keys) {
      html.open("li")
          .open(
              "span",
              "class",
              key.dashed() ? "key dashed" : "key",
              "style",
              "--k:" + key.ink().css())
          .close()
          .text(key.name())
          .close();
    }
    html.close();
  }
}
