package org.sparkpeft.federated.client;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Collectors;
import org.sparkpeft.core.generate.Generated;
import org.sparkpeft.core.generate.GenerationConfig;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.metric.TextMetric;
import org.sparkpeft.core.metric.TextScores;
import org.sparkpeft.federated.config.GenerateConfig;

/**
 * Generates for test rows where they are, and compares what is said with what should have been.
 * Texts are generated in blocks that depend on the rows only and compared in exact counts, so the
 * result does not depend on how Spark ran it.
 */
public final class TextEvaluationJob {
  private static final String MAX_LENGTH = "max_length";

  private TextEvaluationJob() {}

  /**
   * The settings that rows are generated with.
   *
   * @param settings of {@code generation_config.json}, in place of the model's own; where neither
   *     says how long a text may get, it is {@code max_length} of the task
   * @throws org.sparkpeft.core.error.ConfigException if there is no such setting, or not such a
   *     value
   */
  public static GenerationConfig config(RuntimeSpec runtime, Map<String, ?> settings) {
    ModelDirectory directory = ModelDirectory.resolve(runtime.model());
    TreeMap<String, Object> all = new TreeMap<>(settings);
    boolean own =
        directory
            .generationConfig()
            .map(file -> file.hasNonNull(MAX_LENGTH) || file.hasNonNull("max_new_tokens"))
            .orElse(false);
    if (!own && !settings.containsKey(MAX_LENGTH) && !settings.containsKey("max_new_tokens")) {
      all.put(MAX_LENGTH, runtime.task().maxLength());
    }
    return GenerationConfig.of(directory, all);
  }

  /**
   * The model whose texts are compared: the trained one, or the larger one that it is a proxy for.
   *
   * @throws org.sparkpeft.core.error.ConfigException if the larger one cannot be tuned by it, or a
   *     setting is wrong
   */
  public static TextGeneration speaker(StackedAdapters trained, GenerateConfig generate) {
    return speaker(TextGeneration.of(trained), generate);
  }

  /**
   * Checks what {@link #run} will be asked for before anything is trained.
   *
   * @throws org.sparkpeft.core.error.ConfigException as {@link #speaker}
   */
  static void requireSpeaker(RuntimeSpec runtime, GenerateConfig generate) {
    speaker(TextGeneration.untuned(runtime), generate);
  }

  private static TextGeneration speaker(TextGeneration trained, GenerateConfig generate) {
    TextGeneration speaker =
        generate.proxyFor().isEmpty()
            ? trained
            : trained.asProxyFor(generate.proxyFor(), generate.proxyAlpha());
    config(speaker.runtime(), generate.typed());
    return speaker;
  }

  /**
   * Generates for each row and compares.
   *
   * @param trained what was trained
   * @param generate how texts are made
   * @return counts over all rows
   */
  public static TextScores run(
      ReferenceTexts texts,
      StackedAdapters trained,
      List<TextMetric> metrics,
      GenerateConfig generate) {
    TextGeneration speaker = speaker(trained, generate);
    TreeMap<String, Object> chosen = generate.typed();
    ArrayList<TextMetric> wanted = new ArrayList<>(metrics);
    List<byte[]> counted =
        texts.blocks().map(block -> scores(block, speaker, wanted, chosen).toBytes()).collect();
    TextScores sum = TextScores.of(metrics);
    for (byte[] block : counted) {
      sum = sum.plusBytes(block);
    }
    return sum;
  }

  private record Asked(int task, int[] prompt, String reference) {}

  private static TextScores scores(
      byte[] block,
      TextGeneration speaker,
      List<TextMetric> metrics,
      Map<String, Object> settings) {
    RuntimeSpec runtime = speaker.runtime();
    TextEncoder encoder = ExecutorRuntime.of(runtime).textEncoder();
    GenerationConfig config = config(runtime, settings);
    int room = room(runtime, config);
    TextScores scores = TextScores.of(metrics);
    List<Asked> asked = new ArrayList<>();
    for (RawExample row : ReferenceTexts.rows(block)) {
      int[] prompt = encoder.asked(row);
      String reference = TextEncoder.reference(row);
      if (prompt.length == 0 || prompt.length > room) {
        scores = scores.with("", reference);
      } else {
        asked.add(new Asked(row.task(), prompt, reference));
      }
    }
    // Prompts of like length share batches; the sort is stable, so the batches are the same always.
    asked.sort(Comparator.comparingInt(one -> one.prompt().length));
    Map<Integer, List<Asked>> byTask =
        asked.stream()
            .collect(Collectors.groupingBy(Asked::task, TreeMap::new, Collectors.toList()));
    for (Map.Entry<Integer, List<Asked>> one : byTask.entrySet()) {
      List<int[]> prompts = one.getValue().stream().map(Asked::prompt).toList();
      List<List<Generated>> said =
          speaker.ofTask(one.getKey()).model().generate(prompts, config, encoder::decode);
      for (int i = 0; i < said.size(); i++) {
        String text = encoder.decode(said.get(i).get(0).tokens());
        scores = scores.with(text, one.getValue().get(i).reference());
      }
    }
    return scores;
  }

  /** The longest prompt of a decoder that leaves room for an answer; nothing is said to others. */
  private static int room(RuntimeSpec runtime, GenerationConfig config) {
    boolean together = !runtime.task().task().equals("text2text-generation");
    int fresh = config.length().maxNewTokens();
    if (!together) {
      return Integer.MAX_VALUE;
    }
    return fresh > 0 ? runtime.task().maxLength() : config.length().maxLength() - 1;
  }
}
