package org.sparkpeft.federated.track;

import java.awt.BasicStroke;
import java.awt.Font;
import java.util.Locale;
import org.knowm.xchart.style.AxesChartStyler;

/** What all charts of the report have in common: quiet axes, no frame, nothing behind the data. */
final class ChartStyle {
  /** Small enough for a phone, where a drawing shrinks to two thirds; letters stay legible. */
  static final int WIDTH = 460;

  static final int HEIGHT = 230;

  private static final Font FONT = new Font(Font.SANS_SERIF, Font.PLAIN, 12);

  private ChartStyle() {}

  static void apply(AxesChartStyler style) {
    style.setLocale(Locale.ROOT);
    style
        .setChartBackgroundColor(Ink.NONE)
        .setPlotBackgroundColor(Ink.NONE)
        .setPlotBorderVisible(false)
        .setChartTitleVisible(false)
        .setLegendVisible(false)
        .setChartPadding(4)
        .setPlotContentSize(0.98);
    style.setPlotMargin(0);
    style.setAxisTitlesVisible(false);
    style.setAxisTickLabelsFont(FONT);
    style.setXAxisTickLabelsColor(Ink.TEXT.color());
    style.setYAxisTickLabelsColor(Ink.TEXT.color());
    style.setAxisTicksLineVisible(false);
    style.setAxisTicksMarksVisible(false);
    style.setAxisTickPadding(6);
    style.setPlotGridVerticalLinesVisible(false);
    style.setPlotGridLinesColor(Ink.GRID.color());
    style.setPlotGridLinesStroke(new BasicStroke(1));
    style.setYAxisTickMarkSpacingHint(40);
  }

  /** Smallest of 1, 2, 2.5, 5 and 10 times a power of ten that cuts {@code span} in 5 at most. */
  static double step(double span) {
    if (span <= 0) {
      return 1;
    }
    double power = Math.pow(10, Math.floor(Math.log10(span / 5)));
    for (double factor : new double[] {1, 2, 2.5, 5}) {
      if (factor * power * 5 >= span * (1 - 1e-9)) {
        return factor * power;
      }
    }
    return 10 * power;
  }
}
