package org.sparkpeft.federated.client;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.Serializable;
import java.io.UncheckedIOException;
import java.util.SortedMap;
import java.util.TreeMap;
import org.apache.spark.api.java.JavaPairRDD;
import org.sparkpeft.core.data.Examples;
import org.sparkpeft.core.train.Evaluation;
import org.sparkpeft.core.train.LocalTrainer;
import org.sparkpeft.core.train.TrainConfig;
import org.sparkpeft.core.train.TunableModel;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * Evaluates many candidates for one model at once: a Spark task for each candidate and block of
 * examples. Counts are exact, so the result does not depend on how Spark ran it.
 */
public final class CandidateJob {
  private CandidateJob() {}

  /** Makes a candidate's parameters, on an executor. */
  @FunctionalInterface
  public interface Assembly extends Serializable {
    ParameterVector parameters(byte[] candidate, TunableModel model);
  }

  /**
   * @param candidates by number; read once for each block, so best persisted
   * @param shards labelled examples
   * @param runtime what all candidates run on
   * @return the evaluation of each candidate on all examples, by number
   */
  public static SortedMap<Integer, Evaluation> run(
      JavaPairRDD<Integer, byte[]> candidates,
      ExampleShards shards,
      RuntimeSpec runtime,
      Assembly assembly) {
    SortedMap<Integer, Evaluation> evaluations = new TreeMap<>();
    for (byte[] bytes :
        candidates
            .cartesian(shards.all())
            .map(pair -> evaluate(pair._1()._1(), pair._1()._2(), pair._2(), runtime, assembly))
            .collect()) {
      try (DataInputStream in = new DataInputStream(new ByteArrayInputStream(bytes))) {
        evaluations.merge(in.readInt(), Evaluation.fromBytes(in.readAllBytes()), Evaluation::merge);
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
    }
    return evaluations;
  }

  private static byte[] evaluate(
      int number, byte[] candidate, byte[] shard, RuntimeSpec runtime, Assembly assembly)
      throws IOException {
    TunableModel model = ExecutorRuntime.of(runtime).model();
    Examples examples = Examples.fromArrow(ClientShard.fromBytes(shard).arrow().array());
    Evaluation evaluation =
        new LocalTrainer(model, TrainConfig.defaults())
            .evaluate(assembly.parameters(candidate, model), examples);
    ByteArrayOutputStream buffer = new ByteArrayOutputStream();
    DataOutputStream out = new DataOutputStream(buffer);
    out.writeInt(number);
    out.write(evaluation.toBytes());
    return buffer.toByteArray();
  }
}
