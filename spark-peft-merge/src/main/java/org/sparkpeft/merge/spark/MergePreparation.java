package org.sparkpeft.merge.spark;

import java.io.Serializable;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.function.LongConsumer;
import java.util.function.Predicate;
import java.util.stream.IntStream;
import org.sparkpeft.merge.method.Block;
import org.sparkpeft.merge.method.BlockwiseMethod;
import org.sparkpeft.merge.method.KeepRule;
import org.sparkpeft.merge.method.SurveyedMethod;
import org.sparkpeft.merge.method.TensorPlan;
import org.sparkpeft.merge.method.VectorIdentity;
import org.sparkpeft.merge.method.VectorSurvey;

/**
 * What must be known before pieces of tensors are merged on their own: the order of the vectors,
 * thresholds that span tensors, and a plan for each tensor.
 */
final class MergePreparation {
  private final Workers workers;
  private final ReadPlan reading;
  private final long pieceEntries;
  private final MergeListener listener;

  MergePreparation(Workers workers, ReadPlan reading, long pieceEntries, MergeListener listener) {
    this.workers = workers;
    this.reading = reading;
    this.pieceEntries = pieceEntries;
    this.listener = listener;
  }

  /**
   * A tensor with its sources in merging order, and its plan.
   *
   * @param finite whether all values were looked at and are finite
   */
  record Prepared(MergedTensor tensor, TensorPlan plan, boolean finite) {}

  /** What a plan is made of, on whichever machine. */
  @SuppressWarnings("ArrayRecordComponent") // Travels, is never compared.
  private record PlanInput(
      MergedTensor tensor, List<KeepRule> trims, long[] identities, ReadPlan reading)
      implements Serializable {}

  /**
   * Prepares the tensors that are merged, by name.
   *
   * @param needed which of them; thresholds are those of all
   */
  Map<String, Prepared> prepare(List<MergedTensor> tensors, Predicate<String> needed) {
    List<MergedTensor> merged = MergeOrder.of(tensors);
    Map<String, Prepared> prepared = new HashMap<>();
    if (merged.isEmpty()) {
      return prepared;
    }
    BlockwiseMethod method = Objects.requireNonNull(merged.get(0).method());
    long total = merged.stream().mapToLong(MergedTensor::bytes).sum();
    if (method instanceof SurveyedMethod surveyed) {
      VectorSurvey vectors =
          new FileSurvey(
              merged,
              workers,
              pieceEntries,
              reading,
              bytes -> listener.progress("surveying", Math.min(bytes, total), total));
      double[][] findings = surveyed.survey(vectors, merged.get(0).shares());
      merged.replaceAll(tensor -> tensor.by(informed(tensor, findings)));
    }
    List<KeepRule> trims = List.of();
    long[] offsets = new long[merged.size()];
    boolean finite = false;
    if (method.trimsGlobally()) {
      GlobalTrim trim =
          new GlobalTrim(
              merged,
              workers,
              pieceEntries,
              GlobalTrim.Sampling.of(reading),
              reading,
              bytes -> listener.progress("selecting", Math.min(bytes, total), total));
      trims = trim.rules();
      finite = trim.sawAll();
      offsets = IntStream.range(0, offsets.length).mapToLong(trim::offset).toArray();
    }
    long[] identities =
        method.draws() ? identities(merged) : new long[merged.get(0).sources().size()];
    List<PlanInput> inputs = new ArrayList<>();
    for (int i = 0; i < merged.size(); i++) {
      MergedTensor tensor = merged.get(i);
      long offset = offsets[i];
      if (needed.test(tensor.name())) {
        List<KeepRule> own = trims.stream().map(rule -> rule.from(offset)).toList();
        inputs.add(new PlanInput(tensor, own, identities, reading));
      }
    }
    List<TensorPlan> plans =
        workers.run(
            inputs, MergePreparation::plan, bytes -> listener.progress("planning", bytes, total));
    for (int i = 0; i < plans.size(); i++) {
      MergedTensor tensor = inputs.get(i).tensor();
      prepared.put(tensor.name(), new Prepared(tensor, plans.get(i), finite));
    }
    return prepared;
  }

  private static BlockwiseMethod informed(MergedTensor tensor, double[][] findings) {
    return ((SurveyedMethod) Objects.requireNonNull(tensor.method())).informed(findings);
  }

  private static TensorPlan plan(PlanInput input, LongConsumer progress) {
    MergedTensor tensor = input.tensor();
    BlockwiseMethod method = Objects.requireNonNull(tensor.method());
    TensorPlan plan =
        method.plan(
            new VectorReader.Scan(tensor, input.identities(), input.reading()),
            tensor.shares(),
            input.trims());
    progress.accept(tensor.bytes());
    return plan;
  }

  private static long[] identities(List<MergedTensor> merged) {
    int vectors = merged.get(0).sources().size();
    VectorIdentity[] identities = new VectorIdentity[vectors];
    for (int t = 0; t < vectors; t++) {
      identities[t] = new VectorIdentity();
    }
    try (VectorReader reader = VectorReader.scattered(vectors, 1)) {
      for (MergedTensor tensor : merged) {
        List<List<Float>> values = new ArrayList<>();
        for (int t = 0; t < vectors; t++) {
          values.add(new ArrayList<>());
        }
        for (long position : VectorIdentity.positions(tensor.elements())) {
          Block block = reader.read(tensor, position, 1);
          for (int t = 0; t < vectors; t++) {
            values.get(t).add(block.values(t)[0]);
          }
        }
        for (int t = 0; t < vectors; t++) {
          identities[t].add(values.get(t));
        }
      }
    }
    long[] numbers = new long[vectors];
    for (int t = 0; t < vectors; t++) {
      numbers[t] = identities[t].value();
    }
    return numbers;
  }
}
