package org.sparkpeft.federated.track;

import java.util.List;
import java.util.function.DoubleFunction;
import org.knowm.xchart.CategoryChart;
import org.knowm.xchart.CategoryChartBuilder;
import org.knowm.xchart.CategorySeries;
import org.knowm.xchart.style.CategoryStyler;

/**
 * Stacked bars from 0.
 *
 * @param categories a label for each bar
 * @param parts what is stacked, from the bottom
 * @param label value axis labels
 */
record BarChart(List<String> categories, List<Part> parts, DoubleFunction<String> label) {
  private static final int MAX_LABELS = 12;

  /**
   * @param values one for each category; negative and non-finite ones count as 0
   */
  record Part(String name, Ink ink, List<Double> values) {
    Part {
      values = values.stream().map(v -> Double.isFinite(v) ? Math.max(0, v) : 0.0).toList();
    }
  }

  Svg draw(String id, String description) {
    CategoryChart chart =
        new CategoryChartBuilder().width(ChartStyle.WIDTH).height(ChartStyle.HEIGHT).build();
    CategoryStyler style = chart.getStyler();
    ChartStyle.apply(style);
    style.setStacked(true).setAvailableSpaceFill(categories.size() > 30 ? 0.95 : 0.72);
    style.setXAxisMaxLabelCount(MAX_LABELS);
    style.setyAxisTickLabelsFormattingFunction(label::apply);
    double high = highest();
    double step = ChartStyle.step(high > 0 ? high : 1);
    style.setYAxisMin(0.0);
    style.setYAxisMax(step * Math.max(1, Math.ceil(high / step)));
    for (Part part : parts) {
      CategorySeries series = chart.addSeries(part.name(), categories, part.values());
      series.setFillColor(part.ink().color());
    }
    return Svg.of(chart, id, description);
  }

  private double highest() {
    double high = 0;
    for (int i = 0; i < categories.size(); i++) {
      double sum = 0;
      for (Part part : parts) {
        sum += part.values().get(i);
      }
      high = Math.max(high, sum);
    }
    return high;
  }
}
