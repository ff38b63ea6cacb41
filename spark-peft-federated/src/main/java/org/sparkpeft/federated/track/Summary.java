package org.sparkpeft.federated.track;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.util.DefaultIndenter;
import com.fasterxml.jackson.core.util.DefaultPrettyPrinter;
import com.fasterxml.jackson.core.util.Separators;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.core.io.AtomicFiles;
import org.sparkpeft.federated.round.RunEvent;
import org.sparkpeft.federated.round.RunEvent.RoundFinished;
import org.sparkpeft.federated.round.RunEvent.RunStarted;

/**
 * The content of {@value #FILE_NAME}: flat, dotted keys with strings, integers and finite numbers.
 * A value that is not known, not finite or does not apply has no key. Keys:
 *
 * <ul>
 *   <li>{@code name}, {@code seed}, {@code rounds} (complete ones), {@code clients}, {@code
 *       trainable_parameters}, {@code base_parameters}, {@code adapter_sha256}, {@code versions.*}
 *   <li>{@code baseline.*}, {@code head_only.*}, {@code central.*}, {@code final.*}: the metrics of
 *       these evaluations, for example {@code final.accuracy}, {@code final.macro_f1}, {@code
 *       final.loss}
 *   <li>{@code client.accuracy.min}, {@code .p10}, {@code .median}, {@code .max}: over clients,
 *       unweighted, with linear interpolation
 *   <li>{@code uplink.bytes}, {@code uplink.bits_per_parameter}, {@code
 *       uplink.entropy_bound_bits_per_parameter}, {@code uplink.efficiency} (bound over actual
 *       bits, at most 1), {@code uplink.ratio_vs_fp16} (how many times smaller than 16 bits for
 *       each parameter), for accepted payloads
 *   <li>{@code downlink.bytes}, {@code downlink.bits_per_parameter}, {@code
 *       downlink.ratio_vs_fp16}: against sending the whole adapter to each client of each cohort
 *   <li>{@code seconds.train} (the longest lane of each round), {@code seconds.codec} (summed over
 *       clients, so it overlaps with the others), {@code seconds.aggregate}, {@code seconds.spark}
 *       (all of the rounds that was not training, aggregation included), {@code seconds.evaluate},
 *       {@code seconds.total} (rounds and evaluations; starting up and rounds lost in a crash are
 *       not in it), {@code spark.overhead} (fraction of the rounds' time that was not training)
 *   <li>{@code clients.failed}, {@code clients.dropped}, {@code clients.late}: parts in rounds that
 *       ended so
 * </ul>
 */
public final class Summary {
  public static final String FILE_NAME = "summary.json";

  private final SortedMap<String, Object> values = new TreeMap<>();

  private Summary() {}

  /**
   * The summary of a run's events, for a run that was resumed those of the whole log.
   *
   * @param adapterSha256 digest of the final adapter file
   */
  public static SortedMap<String, Object> of(List<RunEvent> events, String adapterSha256) {
    RunView run = RunView.of(events);
    Summary summary = new Summary();
    run.started().ifPresent(summary::addRun);
    summary.values.put("adapter_sha256", adapterSha256);
    summary.values.put("rounds", (long) run.rounds().size());
    for (String what : List.of("baseline", "head_only", "central", "final")) {
      run.evaluation(what)
          .ifPresent(
              evaluated -> evaluated.metrics().forEach((m, v) -> summary.put(what + "." + m, v)));
    }
    summary.addClients(run);
    summary.addUplink(run);
    summary.addDownlink(run);
    summary.addTimes(run);
    return summary.values;
  }

  private void addRun(RunStarted run) {
    values.put("name", run.name());
    values.put("seed", run.seed());
    values.put("clients", (long) run.clientLabelCounts().size());
    values.put("trainable_parameters", run.trainableParameters());
    values.put("base_parameters", run.baseParameters());
    run.versions().forEach((part, version) -> values.put("versions." + part, version));
  }

  private void addClients(RunView run) {
    for (String status : List.of("failed", "dropped", "late")) {
      values.put("clients." + status, run.countOf(status));
    }
    List<Double> accuracies = run.clientAccuracies();
    if (!accuracies.isEmpty()) {
      put("client.accuracy.min", accuracies.get(0));
      put("client.accuracy.p10", RunView.quantile(accuracies, 0.1));
      put("client.accuracy.median", RunView.quantile(accuracies, 0.5));
      put("client.accuracy.max", accuracies.get(accuracies.size() - 1));
    }
  }

  private void addUplink(RunView run) {
    long bytes = run.rounds().stream().mapToLong(RoundFinished::uplinkBytes).sum();
    long parameters = run.rounds().stream().mapToLong(RoundFinished::uplinkParameters).sum();
    double boundBits = run.sum(RoundFinished::uplinkBoundBits);
    values.put("uplink.bytes", bytes);
    put("uplink.bits_per_parameter", 8.0 * bytes / parameters);
    put("uplink.entropy_bound_bits_per_parameter", boundBits / parameters);
    put("uplink.efficiency", boundBits / (8.0 * bytes));
    put("uplink.ratio_vs_fp16", 2.0 * parameters / bytes);
  }

  private void addDownlink(RunView run) {
    long bytes = run.rounds().stream().mapToLong(RoundFinished::downlinkBytes).sum();
    values.put("downlink.bytes", bytes);
    if (run.started().isPresent()) {
      double parameters = (double) run.downloads() * run.started().get().trainableParameters();
      put("downlink.bits_per_parameter", 8.0 * bytes / parameters);
      put("downlink.ratio_vs_fp16", 2.0 * parameters / bytes);
    }
  }

  private void addTimes(RunView run) {
    double rounds = run.sum(RoundFinished::seconds);
    double train = run.sum(RoundFinished::trainSeconds);
    put("seconds.train", train);
    put("seconds.codec", run.sum(RoundFinished::codecSeconds));
    put("seconds.aggregate", run.sum(RoundFinished::aggregateSeconds));
    put("seconds.spark", run.sum(RoundFinished::sparkSeconds));
    put("seconds.evaluate", run.evaluationSeconds());
    put("seconds.total", rounds + run.evaluationSeconds());
    put("spark.overhead", (rounds - train) / rounds);
  }

  private void put(String key, double value) {
    if (Double.isFinite(value)) {
      values.put(key, value);
    }
  }

  /** Writes a summary as JSON, keys sorted, replacing the file whole or not at all. */
  public static void write(Path file, SortedMap<String, Object> summary) {
    DefaultPrettyPrinter printer =
        new DefaultPrettyPrinter(
            Separators.createDefaultInstance()
                .withObjectFieldValueSpacing(Separators.Spacing.AFTER));
    printer.indentObjectsWith(new DefaultIndenter("  ", "\n"));
    try {
      String json = new ObjectMapper().writer(printer).writeValueAsString(summary);
      AtomicFiles.write(file, (json + "\n").getBytes(StandardCharsets.UTF_8));
    } catch (JsonProcessingException e) {
      throw new IllegalArgumentException("a summary holds strings and numbers only", e);
    }
  }
}
