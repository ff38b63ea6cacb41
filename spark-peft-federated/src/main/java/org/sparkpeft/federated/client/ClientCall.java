package org.sparkpeft.federated.client;

import java.util.BitSet;
import java.util.HashMap;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.CancellationException;
import java.util.function.BooleanSupplier;
import java.util.function.Supplier;
import org.sparkpeft.core.data.Examples;
import org.sparkpeft.core.train.ClientPass;
import org.sparkpeft.core.train.LocalPlan;
import org.sparkpeft.core.train.LocalResult;
import org.sparkpeft.core.train.LocalTrainer;
import org.sparkpeft.core.train.NonFiniteException;
import org.sparkpeft.core.train.TunableModel;
import org.sparkpeft.core.vector.ParameterVector;
import org.sparkpeft.core.vector.TaskVector;
import org.sparkpeft.federated.aggregate.Stretches;
import org.sparkpeft.merge.compress.Codec;
import org.sparkpeft.merge.compress.CodecConfig;
import org.sparkpeft.merge.compress.ErrorFeedback;
import org.sparkpeft.merge.compress.NonFiniteUpdateException;
import org.sparkpeft.merge.compress.Payload;
import org.sparkpeft.merge.compress.PayloadHeader;

/**
 * One client's part of a round: train from the global parameters, encode what changed, keep what
 * the encoding lost. A pure function of the order, the client's examples and its state of an
 * earlier round, so that running it again changes nothing. Knows no Spark.
 */
final class ClientCall {

  /** Where and as which attempt the call runs; for reports only. */
  record Place(String host, String lane, int attempt) {}

  private final TunableModel model;
  private final RoundOrder order;
  private final ClientStore store;
  private final Codec codec;
  private final PersonalTensors personal;
  private final Stretches parts;

  ClientCall(TunableModel model, RoundOrder order, ClientStore store) {
    this.model = model;
    this.order = order;
    this.store = store;
    this.codec = Codec.of(order.uplink());
    this.personal = PersonalTensors.of(model);
    this.parts = Stretches.of(model.layout(), model.slicedTensors());
  }

  /**
   * Runs the client. Whatever goes wrong in it becomes part of the result; only an {@link Error}
   * leaves this method, since after one the JVM cannot be trusted.
   *
   * @param start the global parameters of this round
   * @param stopped asked between steps whether the Spark task was cancelled
   */
  ClientResult run(ClientShard shard, ParameterVector start, Place place, BooleanSupplier stopped) {
    long began = System.nanoTime();
    BooleanSupplier late = () -> stopped.getAsBoolean() || isLate(began, 1);
    return caught(
        shard,
        began,
        place,
        () -> {
          Begun begun = begin(shard, start, late);
          LocalResult trained =
              new LocalTrainer(model, order.train())
                  .train(begun.client.start(), begun.client.examples(), begun.client.plan());
          double trainSeconds = (System.nanoTime() - began) * 1e-9;
          return finish(shard, begun, trained, start, trainSeconds, place);
        });
  }

  /**
   * Runs clients that share their passes through the base; see {@link #run}. A client that fails
   * leaves the others alone.
   *
   * @return one result for each, in their order
   */
  List<ClientResult> runTogether(
      List<ClientShard> shards, ParameterVector start, Place place, BooleanSupplier stopped) {
    long began = System.nanoTime();
    BooleanSupplier late = () -> stopped.getAsBoolean() || isLate(began, shards.size());
    Map<String, Begun> begun = new LinkedHashMap<>();
    Map<String, ClientResult> results = new HashMap<>();
    for (ClientShard shard : shards) {
      try {
        begun.put(shard.clientId(), begin(shard, start, late));
      } catch (RuntimeException e) {
        results.put(shard.clientId(), failed(shard, began, place, e));
      }
    }
    List<ClientPass.Outcome> outcomes =
        new ClientPass(model, order.train())
            .train(begun.values().stream().map(Begun::client).toList());
    Iterator<ClientPass.Outcome> next = outcomes.iterator();
    for (ClientShard shard : shards) {
      Begun own = begun.get(shard.clientId());
      if (own != null) {
        ClientPass.Outcome outcome = next.next();
        results.put(
            shard.clientId(),
            caught(
                shard,
                began,
                place,
                () -> {
                  LocalResult trained = outcome.result();
                  return finish(shard, own, trained, start, trained.nanos() * 1e-9, place);
                }));
      }
    }
    return shards.stream()
        .map(shard -> Objects.requireNonNull(results.get(shard.clientId())))
        .toList();
  }

  private boolean isLate(long began, int clients) {
    return order.clientSeconds() > 0
        && (System.nanoTime() - began) * 1e-9 > order.clientSeconds() * clients;
  }

  /** A client about to train. */
  private record Begun(ClientPass.Client client, TaskVector kept) {}

  private Begun begin(ClientShard shard, ParameterVector start, BooleanSupplier stopped) {
    Examples examples = Examples.fromArrow(shard.arrow().array());
    LocalPlan plan =
        new LocalPlan(
            order.seed(),
            order.round(),
            shard.clientId(),
            order.progressStart(),
            order.progressEnd(),
            order.proximalMu(),
            stopped);
    TaskVector kept = kept(shard.clientId());
    ParameterVector own = personal.any() ? start.plus(personal.personal(kept)) : start;
    return new Begun(new ClientPass.Client(own, examples, plan), kept);
  }

  private ClientResult finish(
      ClientShard shard,
      Begun begun,
      LocalResult trained,
      ParameterVector start,
      double trainSeconds,
      Place place) {
    long encoding = System.nanoTime();
    Bytes report = MethodReport.encode(trained.report());
    TaskVector update = trained.parameters().minus(start);
    Bytes touched = trainedParts(begun.kept, update);
    byte[] payload = encode(shard.clientId(), begun.kept, update);
    double codecSeconds = (System.nanoTime() - encoding) * 1e-9;
    return new ClientResult(
        shard.clientId(),
        ClientResult.OK,
        shard.numExamples(),
        trained.steps(),
        trained.meanLoss(),
        trainSeconds,
        codecSeconds,
        place.host(),
        place.lane(),
        place.attempt(),
        "",
        "",
        Bytes.wrap(payload),
        report,
        touched);
  }

  private ClientResult caught(
      ClientShard shard, long began, Place place, Supplier<ClientResult> work) {
    try {
      return work.get();
    } catch (RuntimeException e) {
      return failed(shard, began, place, e);
    }
  }

  private ClientResult failed(ClientShard shard, long began, Place place, RuntimeException e) {
    if (e instanceof CancellationException) {
      String reason = "took longer than rounds.client_seconds: " + order.clientSeconds();
      return without(shard, ClientResult.LATE, began, place, reason, "");
    }
    boolean dropped = e instanceof NonFiniteException || e instanceof NonFiniteUpdateException;
    String status = dropped ? ClientResult.DROPPED : ClientResult.FAILED;
    return without(shard, status, began, place, OwnFrame.message(e), OwnFrame.of(e));
  }

  /** What the client kept of the last round that the server accepted; zeros at first. */
  private TaskVector kept(String clientId) {
    if (!order.uplink().errorFeedback() && !personal.any()) {
      return TaskVector.zeros(model.layout());
    }
    int version = Objects.requireNonNull(order.cohort().get(clientId), "client of the cohort");
    return store
        .read(clientId, version)
        .map(bytes -> Payload.decode(bytes, model.layout()).vector())
        .orElseGet(() -> TaskVector.zeros(model.layout()));
  }

  /**
   * What the client has something to say about: parts that it trained now, or of which it kept what
   * an earlier encoding lost. Taken before encoding, which may drop all of a small part.
   */
  private Bytes trainedParts(TaskVector kept, TaskVector update) {
    if (parts.count() == 0) {
      return Bytes.EMPTY;
    }
    BitSet touched = parts.touched(update);
    if (order.uplink().errorFeedback()) {
      touched.or(parts.touched(kept));
    }
    return Bytes.wrap(touched.toByteArray());
  }

  private byte[] encode(String clientId, TaskVector kept, TaskVector update) {
    PayloadHeader header = new PayloadHeader(order.round(), clientId, model.layout().fingerprint());
    TaskVector shared = personal.shared(update);
    if (!order.uplink().errorFeedback() && !personal.any()) {
      return codec.encode(shared, header);
    }
    TaskVector residual =
        order.uplink().errorFeedback() ? personal.shared(kept) : TaskVector.zeros(model.layout());
    ErrorFeedback.Encoded encoded = ErrorFeedback.encode(codec, residual, shared, header);
    TaskVector keep = encoded.residual().times((float) order.uplink().feedback());
    if (personal.any()) {
      keep = keep.plus(personal.personal(update));
    }
    store.write(clientId, order.round(), DENSE.encode(keep, header));
    return encoded.payload();
  }

  /** Residuals are kept exactly. */
  private static final Codec DENSE = Codec.of(CodecConfig.uncompressed());

  private static ClientResult without(
      ClientShard shard, String status, long began, Place place, String error, String frame) {
    return new ClientResult(
        shard.clientId(),
        status,
        shard.numExamples(),
        0,
        Double.NaN,
        (System.nanoTime() - began) * 1e-9,
        0,
        place.host(),
        place.lane(),
        place.attempt(),
        error,
        frame,
        Bytes.EMPTY,
        Bytes.EMPTY,
        Bytes.EMPTY);
  }
}
