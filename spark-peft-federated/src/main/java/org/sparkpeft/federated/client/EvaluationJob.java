package org.sparkpeft.federated.client;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.function.Function;
import org.apache.spark.api.java.JavaSparkContext;
import org.apache.spark.broadcast.Broadcast;
import org.sparkpeft.core.data.Examples;
import org.sparkpeft.core.train.AdapterStack;
import org.sparkpeft.core.train.Evaluation;
import org.sparkpeft.core.train.LocalTrainer;
import org.sparkpeft.core.train.TrainConfig;
import org.sparkpeft.core.train.TunableModel;
import org.sparkpeft.core.vector.ParameterVector;
import org.sparkpeft.merge.compress.Codec;
import org.sparkpeft.merge.compress.CodecConfig;
import org.sparkpeft.merge.compress.Payload;
import org.sparkpeft.merge.compress.PayloadHeader;

/**
 * Evaluates parameters on shards, where the shards are. Counts are exact, so the result does not
 * depend on how Spark ran it.
 */
public final class EvaluationJob {
  private static final Codec DENSE = Codec.of(CodecConfig.uncompressed());

  private EvaluationJob() {}

  /**
   * @return the evaluation of each shard by name
   */
  public static SortedMap<String, Evaluation> run(
      JavaSparkContext spark,
      ExampleShards shards,
      RuntimeSpec runtime,
      ParameterVector parameters) {
    PayloadHeader header = new PayloadHeader(0, "server", parameters.layout().fingerprint());
    Broadcast<byte[]> dense =
        spark.broadcast(
            DENSE.encode(parameters.minus(ParameterVector.zeros(parameters.layout())), header));
    try {
      return byShard(shards.all().mapPartitions(part -> evaluate(part, runtime, dense)).collect());
    } finally {
      dense.destroy();
    }
  }

  /**
   * Evaluates several adapters on top of each other.
   *
   * @return the evaluation of each shard by name
   */
  public static SortedMap<String, Evaluation> run(ExampleShards shards, StackedAdapters adapters) {
    return byShard(
        shards
            .all()
            .mapPartitions(
                part -> {
                  LocalTrainer trainer = new LocalTrainer(adapters.model(), TrainConfig.defaults());
                  AdapterStack stack = adapters.stack();
                  return evaluate(part, examples -> trainer.evaluate(stack, examples));
                })
            .collect());
  }

  private static SortedMap<String, Evaluation> byShard(List<byte[]> results) {
    SortedMap<String, Evaluation> evaluations = new TreeMap<>();
    for (byte[] bytes : results) {
      try (DataInputStream in = new DataInputStream(new ByteArrayInputStream(bytes))) {
        evaluations.put(in.readUTF(), Evaluation.fromBytes(in.readAllBytes()));
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
    }
    return evaluations;
  }

  private static Iterator<byte[]> evaluate(
      Iterator<byte[]> shards, RuntimeSpec runtime, Broadcast<byte[]> dense) {
    TunableModel model = ExecutorRuntime.of(runtime).model();
    ParameterVector parameters =
        ParameterVector.wrap(
            model.layout(), Payload.decode(dense.value(), model.layout()).vector().toArray());
    LocalTrainer trainer = new LocalTrainer(model, TrainConfig.defaults());
    return evaluate(shards, examples -> trainer.evaluate(parameters, examples));
  }

  private static Iterator<byte[]> evaluate(
      Iterator<byte[]> shards, Function<Examples, Evaluation> evaluate) {
    List<byte[]> results = new ArrayList<>();
    shards.forEachRemaining(
        bytes -> {
          ClientShard shard = ClientShard.fromBytes(bytes);
          Evaluation evaluation = evaluate.apply(Examples.fromArrow(shard.arrow().array()));
          try {
            ByteArrayOutputStream buffer = new ByteArrayOutputStream();
            DataOutputStream out = new DataOutputStream(buffer);
            out.writeUTF(shard.clientId());
            out.write(evaluation.toBytes());
            results.add(buffer.toByteArray());
          } catch (IOException e) {
            throw new UncheckedIOException(e);
          }
        });
    return results.iterator();
  }
}
