package org.sparkpeft.federated.client;

import java.util.ArrayList;
import java.util.Collections;
import java.util.Iterator;
import java.util.List;
import org.apache.spark.api.java.function.FlatMapFunction;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.federated.aggregate.Accumulator;
import org.sparkpeft.federated.aggregate.Aggregator;
import org.sparkpeft.federated.aggregate.UnusableUpdateException;
import org.sparkpeft.merge.compress.Payload;
import scala.Tuple2;

/**
 * Runs on executors: decodes the payloads of one bucket of clients and adds them up. A payload that
 * cannot be used drops its client.
 */
final class FoldResults implements FlatMapFunction<Iterator<Tuple2<Integer, byte[]>>, byte[]> {
  private static final long serialVersionUID = 1L;
  private final Aggregator aggregator;
  private final ParameterLayout layout;
  private final Aggregator.Cohort cohort;
  private final int round;

  FoldResults(Aggregator aggregator, ParameterLayout layout, Aggregator.Cohort cohort, int round) {
    this.aggregator = aggregator;
    this.layout = layout;
    this.cohort = cohort;
    this.round = round;
  }

  @Override
  public Iterator<byte[]> call(Iterator<Tuple2<Integer, byte[]>> results) {
    Accumulator sums = aggregator.zero(layout, cohort);
    List<ClientResult> clients = new ArrayList<>();
    List<Long> sizes = new ArrayList<>();
    double boundBits = 0;
    long parameters = 0;
    long codecNanos = 0;
    long foldNanos = 0;
    while (results.hasNext()) {
      ClientResult result = ClientResult.fromBytes(results.next()._2());
      long size = 0;
      if (result.isOk()) {
        try {
          long began = System.nanoTime();
          Payload payload = Payload.decode(result.payload().array(), layout);
          requireItsOwn(payload, result.clientId());
          long decoded = System.nanoTime();
          sums.add(
              payload.vector(),
              result.numExamples(),
              cohort.parts().parts(result.trained().array()));
          codecNanos += decoded - began;
          foldNanos += System.nanoTime() - decoded;
          size = result.payload().size();
          boundBits += payload.statistics().boundBits();
          parameters += layout.size();
        } catch (FormatException | UnusableUpdateException e) {
          result = result.dropped(OwnFrame.message(e));
        }
      }
      clients.add(result.withoutPayload());
      sizes.add(size);
    }
    if (clients.isEmpty()) {
      return Collections.emptyIterator();
    }
    FoldedUpdates folded =
        new FoldedUpdates(
            Bytes.wrap(sums.toBytes()),
            clients,
            sizes,
            boundBits,
            parameters,
            codecNanos * 1e-9,
            foldNanos * 1e-9);
    return List.of(folded.toBytes()).iterator();
  }

  private void requireItsOwn(Payload payload, String clientId) {
    if (payload.header().round() != round || !payload.header().clientId().equals(clientId)) {
      throw new FormatException(
          "payload of " + clientId,
          "it says round "
              + payload.header().round()
              + " of client "
              + payload.header().clientId()
              + ", expected round "
              + round);
    }
  }
}
