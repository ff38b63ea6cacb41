package org.sparkpeft.federated.client;

import java.util.HashMap;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.NoSuchElementException;
import java.util.Objects;
import org.apache.spark.SparkEnv;
import org.apache.spark.TaskContext;
import org.apache.spark.api.java.function.FlatMapFunction;
import org.apache.spark.broadcast.Broadcast;
import org.apache.spark.util.LongAccumulator;
import org.sparkpeft.core.train.TunableModel;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * Runs on executors: calls the clients of a cohort that a partition holds, one after the other, or
 * the clients of one group together.
 */
final class TrainClients implements FlatMapFunction<Iterator<byte[]>, byte[]> {
  private static final long serialVersionUID = 1L;
  private final RuntimeSpec runtime;
  private final RoundOrder order;
  private final ClientStore store;
  private final Broadcast<byte[]> update;
  private final Broadcast<byte[]> snapshot;
  private final LongAccumulator heartbeat;

  TrainClients(
      RuntimeSpec runtime,
      RoundOrder order,
      ClientStore store,
      Broadcast<byte[]> update,
      Broadcast<byte[]> snapshot,
      LongAccumulator heartbeat) {
    this.runtime = runtime;
    this.order = order;
    this.store = store;
    this.update = update;
    this.snapshot = snapshot;
    this.heartbeat = heartbeat;
  }

  /** The shards of a group in its own order, whatever else the partitions hold. */
  private List<ClientShard> group(Iterator<byte[]> shards, int number) {
    List<String> group = order.groups().get(number);
    Map<String, ClientShard> found = new HashMap<>();
    while (shards.hasNext()) {
      byte[] shard = shards.next();
      if (group.contains(ClientShard.clientIdOf(shard))) {
        ClientShard read = ClientShard.fromBytes(shard);
        found.put(read.clientId(), read);
      }
    }
    return group.stream()
        .map(client -> Objects.requireNonNull(found.get(client), () -> "no shard of " + client))
        .toList();
  }

  @Override
  public Iterator<byte[]> call(Iterator<byte[]> shards) {
    TunableModel model = ExecutorRuntime.of(runtime).model();
    ParameterVector start =
        GlobalView.at(order.runId(), order.round(), model.layout(), update::value, snapshot::value);
    ClientCall call = new ClientCall(model, order, store);
    TaskContext context = TaskContext.get();
    String host = SparkEnv.get().blockManager().blockManagerId().host();
    String lane = SparkEnv.get().executorId() + "/" + Thread.currentThread().getId();
    ClientCall.Place place = new ClientCall.Place(host, lane, context.attemptNumber());
    if (!order.groups().isEmpty()) {
      List<ClientResult> results =
          call.runTogether(
              group(shards, context.partitionId()),
              start,
              place,
              () -> {
                heartbeat.add(1);
                return context.isInterrupted();
              });
      context.killTaskIfInterrupted();
      return results.stream().map(ClientResult::toBytes).iterator();
    }
    return new Iterator<>() {
      private byte[] next = advance();

      @Override
      public boolean hasNext() {
        return next.length > 0;
      }

      @Override
      public byte[] next() {
        if (next.length == 0) {
          throw new NoSuchElementException();
        }
        byte[] shard = next;
        byte[] result =
            call.run(
                    ClientShard.fromBytes(shard),
                    start,
                    place,
                    () -> {
                      heartbeat.add(1);
                      return context.isInterrupted();
                    })
                .toBytes();
        context.killTaskIfInterrupted();
        next = advance();
        return result;
      }

      private byte[] advance() {
        while (shards.hasNext()) {
          byte[] shard = shards.next();
          if (order.cohort().containsKey(ClientShard.clientIdOf(shard))) {
            return shard;
          }
        }
        return new byte[0];
      }
    };
  }
}
