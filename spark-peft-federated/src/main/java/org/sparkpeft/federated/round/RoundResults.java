package org.sparkpeft.federated.round;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.federated.aggregate.Accumulator;
import org.sparkpeft.federated.aggregate.Aggregator;
import org.sparkpeft.federated.client.ClientResult;
import org.sparkpeft.federated.client.FoldedUpdates;

/**
 * The results of a round's cohort, gathered from the fold tasks and from clients that never
 * answered.
 */
final class RoundResults {

  /** A client's result and the bytes its accepted payload had. */
  record Entry(ClientResult result, long payloadBytes) {}

  private final List<Entry> entries = new ArrayList<>();
  private final Accumulator sums;
  private double boundBits;
  private long parameters;
  private double codecSeconds;
  private double foldSeconds;

  RoundResults(
      Aggregator aggregator,
      ParameterLayout layout,
      Aggregator.Cohort cohort,
      List<FoldedUpdates> folded,
      List<ClientResult> unanswered) {
    long began = System.nanoTime();
    sums = aggregator.zero(layout, cohort);
    for (FoldedUpdates part : folded) {
      sums.merge(aggregator.fromBytes(part.sums().toArray(), layout, cohort));
      for (int i = 0; i < part.clients().size(); i++) {
        entries.add(new Entry(part.clients().get(i), part.payloadBytes().get(i)));
      }
      boundBits += part.boundBits();
      parameters += part.parameters();
      codecSeconds += part.codecSeconds();
      foldSeconds += part.foldSeconds();
    }
    unanswered.forEach(result -> entries.add(new Entry(result, 0)));
    entries.sort(Comparator.comparing(entry -> entry.result().clientId()));
    entries.forEach(entry -> codecSeconds += entry.result().codecSeconds());
    foldSeconds += (System.nanoTime() - began) * 1e-9;
  }

  /** Every client of the cohort, sorted by id. */
  List<Entry> entries() {
    return List.copyOf(entries);
  }

  Accumulator sums() {
    return sums;
  }

  List<String> accepted() {
    return entries.stream()
        .map(Entry::result)
        .filter(ClientResult::isOk)
        .map(ClientResult::clientId)
        .toList();
  }

  /**
   * What the accepted clients' methods report, each weighted by its share of their examples, summed
   * in the order of their ids.
   */
  SortedMap<String, float[]> reports() {
    double examples =
        entries.stream()
            .filter(entry -> entry.result().isOk())
            .mapToLong(entry -> entry.result().numExamples())
            .sum();
    SortedMap<String, double[]> sums = new TreeMap<>();
    for (Entry entry : entries) {
      if (entry.result().isOk()) {
        double share = entry.result().numExamples() / examples;
        entry.result().methodReport().forEach((name, values) -> add(sums, name, values, share));
      }
    }
    SortedMap<String, float[]> reports = new TreeMap<>();
    sums.forEach(
        (name, sum) -> {
          float[] rounded = new float[sum.length];
          for (int i = 0; i < sum.length; i++) {
            rounded[i] = (float) sum[i];
          }
          reports.put(name, rounded);
        });
    return reports;
  }

  private static void add(
      SortedMap<String, double[]> sums, String name, float[] values, double share) {
    double[] sum = sums.computeIfAbsent(name, key -> new double[values.length]);
    if (sum.length != values.length) {
      throw new IllegalStateException(
          "clients report " + sum.length + " and " + values.length + " numbers as " + name);
    }
    for (int i = 0; i < sum.length; i++) {
      sum[i] += share * values[i];
    }
  }

  long uplinkBytes() {
    return entries.stream().mapToLong(Entry::payloadBytes).sum();
  }

  double boundBits() {
    return boundBits;
  }

  long parameters() {
    return parameters;
  }

  double codecSeconds() {
    return codecSeconds;
  }

  double foldSeconds() {
    return foldSeconds;
  }

  /** Example-weighted mean training loss of the accepted clients, NaN without any. */
  double trainLoss() {
    double sum = 0;
    double weight = 0;
    for (Entry entry : entries) {
      if (entry.result().isOk() && Double.isFinite(entry.result().loss())) {
        sum += entry.result().loss() * entry.result().numExamples();
        weight += entry.result().numExamples();
      }
    }
    return sum / weight;
  }

  /**
   * Training time of the busiest lane: work on one executor thread adds up, work on several
   * overlaps.
   */
  double longestLaneSeconds() {
    Map<String, Double> lanes = new HashMap<>();
    entries.forEach(
        entry -> lanes.merge(entry.result().lane(), entry.result().trainSeconds(), Double::sum));
    return lanes.values().stream().mapToDouble(Double::doubleValue).max().orElse(0);
  }
}
