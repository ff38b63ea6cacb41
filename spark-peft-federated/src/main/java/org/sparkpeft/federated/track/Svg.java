package org.sparkpeft.federated.track;

import de.erichseifert.vectorgraphics2d.Processors;
import de.erichseifert.vectorgraphics2d.VectorGraphics2D;
import de.erichseifert.vectorgraphics2d.util.PageSize;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.math.BigDecimal;
import java.math.RoundingMode;
import java.nio.charset.StandardCharsets;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.regex.Pattern;
import org.knowm.xchart.internal.chartpart.Chart;

/**
 * Markup of one inline SVG drawing that scales to its container. The chart library exports text as
 * outlines, so a drawing holds no text from data and needs no font.
 */
final class Svg {
  private static final Pattern BEFORE_CONTENT = Pattern.compile("(?s)^.*?<svg[^>]*>");
  private static final Pattern LONG_NUMBER = Pattern.compile("-?\\d+\\.\\d{2,}(E-?\\d+)?");
  private static final Pattern CLIP = Pattern.compile("clip-?\\d{3,}");
  private static final Pattern INVISIBLE =
      Pattern.compile("<rect [^>]*fill-opacity:0;stroke:none;[^>]*/>");
  private static final Pattern INDENT = Pattern.compile("\\n\\s*");

  private final String markup;

  private Svg(String markup) {
    this.markup = markup;
  }

  /**
   * Draws a chart.
   *
   * @param id unique in the page, letters and digits
   * @param description what a screen reader says
   */
  static Svg of(Chart<?, ?> chart, String id, String description) {
    VectorGraphics2D graphics = new VectorGraphics2D();
    chart.paint(graphics, chart.getWidth(), chart.getHeight());
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    try {
      Processors.get("svg")
          .getDocument(graphics.getCommands(), new PageSize(chart.getWidth(), chart.getHeight()))
          .writeTo(bytes);
    } catch (IOException e) {
      throw new UncheckedIOException("cannot draw a chart", e);
    }
    String content =
        BEFORE_CONTENT.matcher(bytes.toString(StandardCharsets.UTF_8)).replaceFirst("");
    content = INVISIBLE.matcher(content).replaceAll("");
    content = LONG_NUMBER.matcher(content).replaceAll(number -> shorter(number.group()));
    content = renameClips(content, id);
    content = INDENT.matcher(content).replaceAll("");
    for (Ink ink : Ink.values()) {
      content = content.replace(ink.exported(), ink.css());
    }
    return new Svg(
        "<svg viewBox=\"0 0 "
            + chart.getWidth()
            + " "
            + chart.getHeight()
            + "\" role=\"img\" aria-label=\""
            + Html.escape(description)
            + "\">"
            + content
            + "\n");
  }

  /** The export names clip paths by hash, so two drawings of a page could share a name. */
  private static String renameClips(String content, String id) {
    SortedMap<String, String> names = new TreeMap<>();
    return CLIP.matcher(content)
        .replaceAll(
            clip -> names.computeIfAbsent(clip.group(), old -> "clip-" + id + "-" + names.size()));
  }

  /** A tenth of a pixel is more than any screen shows. */
  private static String shorter(String number) {
    return new BigDecimal(number)
        .setScale(1, RoundingMode.HALF_EVEN)
        .stripTrailingZeros()
        .toPlainString();
  }

  String markup() {
    return markup;
  }
}
