package org.sparkpeft.federated.track;

import java.util.ArrayList;
import java.util.List;

/** A table that scrolls sideways on narrow screens. The first column holds row headings. */
final class Table {
  private final List<String> headings;
  private final List<List<String>> rows = new ArrayList<>();
  private boolean words;

  Table(String... headings) {
    this.headings = List.of(headings);
  }

  /** Cells hold words rather than numbers, so they are set from the left and may wrap. */
  Table ofWords() {
    words = true;
    return this;
  }

  void row(String... cells) {
    if (cells.length != headings.size()) {
      throw new IllegalArgumentException(
          "a row needs " + headings.size() + " cells, got " + cells.length);
    }
    rows.add(List.of(cells));
  }

  void write(Html html) {
    html.open("div", "class", "scroll", "tabindex", "0");
    html.open("table", "class", words ? "words" : "numbers").open("thead").open("tr");
    headings.forEach(heading -> html.element("th", heading, "scope", "col"));
    html.close().close().open("tbody");
    for (List<String> row : rows) {
      html.open("tr").element("th", row.get(0), "scope", "row");
      row.subList(1, row.size()).forEach(cell -> html.element("td", cell));
      html.close();
    }
    html.close().close().close();
  }
}
