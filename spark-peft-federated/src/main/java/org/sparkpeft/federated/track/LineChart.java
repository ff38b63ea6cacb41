package org.sparkpeft.federated.track;

import java.awt.BasicStroke;
import java.util.Arrays;
import java.util.List;
import java.util.function.DoubleFunction;
import org.knowm.xchart.XYChart;
import org.knowm.xchart.XYChartBuilder;
import org.knowm.xchart.XYSeries;
import org.knowm.xchart.style.XYStyler;
import org.knowm.xchart.style.markers.SeriesMarkers;

/**
 * Lines over rounds. Values that are not finite are gaps.
 *
 * @param rounds round numbers, ascending
 * @param lines at least one
 * @param fromZero whether the value axis starts at 0
 * @param label value axis labels
 */
record LineChart(int[] rounds, List<Line> lines, boolean fromZero, DoubleFunction<String> label) {
  /** More points than this and markers would touch. */
  private static final int MAX_MARKED = 40;

  private static final BasicStroke SOLID =
      new BasicStroke(2.2f, BasicStroke.CAP_ROUND, BasicStroke.JOIN_ROUND);
  private static final BasicStroke DASHED =
      new BasicStroke(
          1.8f, BasicStroke.CAP_BUTT, BasicStroke.JOIN_ROUND, 10, new float[] {6, 4}, 0);

  /**
   * @param values one for each round
   * @param reference whether it is something to compare with: dashed, without markers
   */
  record Line(String name, Ink ink, double[] values, boolean reference) {

    /** A horizontal line. */
    static Line at(String name, Ink ink, double value, int rounds) {
      double[] values = new double[rounds];
      Arrays.fill(values, value);
      return new Line(name, ink, values, true);
    }
  }

  /** Whether there is a finite value to draw. */
  boolean hasData() {
    return lines.stream().anyMatch(line -> Arrays.stream(line.values()).anyMatch(Double::isFinite));
  }

  Svg draw(String id, String description) {
    XYChart chart = new XYChartBuilder().width(ChartStyle.WIDTH).height(ChartStyle.HEIGHT).build();
    ChartStyle.apply(chart.getStyler());
    setAxes(chart.getStyler());
    for (Line line : lines) {
      addLine(chart, line);
    }
    return Svg.of(chart, id, description);
  }

  private void addLine(XYChart chart, Line line) {
    double[] x = Arrays.stream(rounds).asDoubleStream().toArray();
    double[] y =
        Arrays.stream(line.values()).map(v -> Double.isFinite(v) ? v : Double.NaN).toArray();
    if (rounds.length == 1 && line.reference()) {
      // One point has no length; a reference is a line also when there is one round.
      x = new double[] {x[0] - 1, x[0] + 1};
      y = new double[] {y[0], y[0]};
    }
    XYSeries series = chart.addSeries(line.name(), x, y);
    series.setLineColor(line.ink().color()).setLineStyle(line.reference() ? DASHED : SOLID);
    series.setMarkerColor(line.ink().color());
    boolean marked = !line.reference() && rounds.length <= MAX_MARKED;
    series.setMarker(marked ? SeriesMarkers.CIRCLE : SeriesMarkers.NONE);
  }

  private void setAxes(XYStyler style) {
    style.setMarkerSize(6);
    int first = rounds[0];
    int last = rounds[rounds.length - 1];
    style.setXAxisMin((double) (first == last ? first - 1 : first));
    style.setXAxisMax((double) (first == last ? last + 1 : last));
    style.setXAxisTickMarkSpacingHint(50);
    style.setxAxisTickLabelsFormattingFunction(
        x -> x == Math.rint(x) && x >= first && x <= last ? Text.count(x.longValue()) : " ");
    style.setyAxisTickLabelsFormattingFunction(label::apply);
    double[] all =
        lines.stream()
            .flatMapToDouble(line -> Arrays.stream(line.values()))
            .filter(Double::isFinite)
            .toArray();
    double high = Arrays.stream(all).max().orElse(1);
    double low = fromZero ? 0 : Arrays.stream(all).min().orElse(0);
    double step = ChartStyle.step(high > low ? high - low : Math.max(Math.abs(high), 1e-3));
    double min = fromZero ? 0 : step * Math.floor(low / step);
    double max = step * Math.ceil(high / step);
    style.setYAxisMin(min);
    style.setYAxisMax(max > min ? max : min + step);
  }
}
