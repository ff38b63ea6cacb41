package org.sparkpeft.federated.client;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.Iterator;
import java.util.List;
import org.apache.spark.TaskContext;
import org.apache.spark.api.java.JavaSparkContext;
import org.sparkpeft.core.data.Examples;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.train.LocalPlan;
import org.sparkpeft.core.train.LocalResult;
import org.sparkpeft.core.train.LocalTrainer;
import org.sparkpeft.core.train.TrainConfig;
import org.sparkpeft.core.train.TunableModel;
import org.sparkpeft.core.vector.ParameterVector;
import org.sparkpeft.merge.compress.Codec;
import org.sparkpeft.merge.compress.CodecConfig;
import org.sparkpeft.merge.compress.Payload;
import org.sparkpeft.merge.compress.PayloadHeader;

/**
 * Trains on all clients' examples in one place: what the federation is compared with. One Spark
 * task.
 */
public final class PooledTraining {
  private static final Codec DENSE = Codec.of(CodecConfig.uncompressed());

  private PooledTraining() {}

  /**
   * @param config local training; its epochs are passes over the pooled examples
   * @return what training from the given start leads to
   */
  public static TunedAdapter run(
      JavaSparkContext spark,
      ExampleShards clients,
      RuntimeSpec runtime,
      TrainConfig config,
      long seed,
      ParameterVector start) {
    byte[] dense = encode(start);
    List<byte[]> trained =
        clients
            .all()
            .coalesce(1)
            .mapPartitions(shards -> train(shards, runtime, config, seed, dense))
            .collect();
    MethodState state =
        StateBytes.read(trained.get(1)).state(); // two elements: parameters and state
    return new TunedAdapter(runtime.withState(state), decode(trained.get(0), start));
  }

  private static Iterator<byte[]> train(
      Iterator<byte[]> shards, RuntimeSpec runtime, TrainConfig config, long seed, byte[] dense) {
    TunableModel model = ExecutorRuntime.of(runtime).model();
    List<ClientShard> clients = new ArrayList<>();
    shards.forEachRemaining(shard -> clients.add(ClientShard.fromBytes(shard)));
    clients.sort(Comparator.comparing(ClientShard::clientId));
    Examples pooled =
        Examples.concat(
            clients.stream().map(client -> Examples.fromArrow(client.arrow().array())).toList());
    ParameterVector start = decode(dense, ParameterVector.zeros(model.layout()));
    TaskContext context = TaskContext.get();
    LocalPlan plan = new LocalPlan(seed, 0, "central", 0, 1, 0, context::isInterrupted);
    LocalResult result = new LocalTrainer(model, config).train(start, pooled, plan);
    return List.of(encode(result.parameters()), StateBytes.of(result.state()).toArray()).iterator();
  }

  private static byte[] encode(ParameterVector vector) {
    PayloadHeader header = new PayloadHeader(0, "central", vector.layout().fingerprint());
    return DENSE.encode(vector.minus(ParameterVector.zeros(vector.layout())), header);
  }

  private static ParameterVector decode(byte[] payload, ParameterVector like) {
    return ParameterVector.wrap(
        like.layout(), Payload.decode(payload, like.layout()).vector().toArray());
  }
}
