package org.sparkpeft.federated.client;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import org.sparkpeft.core.data.Examples;
import org.sparkpeft.core.model.TokenExamples;
import org.sparkpeft.core.text.TextTokenizer;
import org.sparkpeft.core.train.TaskConfig;

/** Turns the rows of a shard into tokens and labels, as the task wants them. */
final class ExampleEncoder {
  /** A token whose label does not count. */
  private static final int IGNORED = -100;

  private final TextTokenizer tokenizer;
  private final TaskConfig task;

  ExampleEncoder(TextTokenizer tokenizer, TaskConfig task) {
    this.tokenizer = tokenizer;
    this.task = task;
  }

  /** A client's rows. */
  ClientShard shard(String clientId, List<RawExample> rows) {
    Examples.Builder builder = Examples.builder();
    for (int i = 0; i < rows.size(); i++) {
      RawExample row = rows.get(i);
      switch (task.task()) {
        case "text-classification" ->
            builder.addClass(tokenizer.encode(row.text()), row.targets().classIndex());
        case "multi-label-classification", "regression" ->
            builder.addValues(tokenizer.encode(row.text()), row.targets().values());
        case "token-classification" -> addWords(builder, row);
        case "sentence-embedding" ->
            builder.addPair(tokenizer.encode(row.text()), tokenizer.encode(row.pair()));
        case "text-generation" -> {
          WordTargets words = WordTargets.continuation(tokenizer, task, row.text(), row.pair());
          builder.addTokenClasses(words.tokens(), words.labels());
        }
        case "text2text-generation" ->
            builder.addTargets(
                tokenizer.encode(row.text()), WordTargets.target(tokenizer, task, row.pair()));
        case "dpo", "ipo", "orpo" ->
            PreferenceTargets.of(tokenizer, task, row.text())
                .addPair(builder, row.pair(), row.rejected());
        case "kto" ->
            PreferenceTargets.of(tokenizer, task, row.text())
                .addJudged(
                    builder,
                    row.pair(),
                    rows.get((i + 1) % rows.size()).pair(),
                    row.targets().classIndex() == 1);
        default -> throw new IllegalStateException("no encoding for task " + task.task());
      }
    }
    return new ClientShard(
        clientId, rows.size(), labelCounts(rows), Bytes.wrap(builder.build().toArrow()));
  }

  /** A text to continue, as a model reads it: without the token that ends texts, for a decoder. */
  int[] prompt(String text) {
    return task.task().equals("text-generation") || task.isPreference()
        ? WordTargets.prompt(tokenizer, text)
        : tokenizer.encode(text);
  }

  String decode(int[] tokens) {
    return tokenizer.decode(tokens);
  }

  /** Texts without labels, in the order given. */
  TokenExamples unlabelled(List<String> texts) {
    List<int[]> tokens = tokenizer.encodeAll(texts);
    return new TokenExamples() {
      @Override
      public int size() {
        return tokens.size();
      }

      @Override
      public int[] tokens(int index) {
        return tokens.get(index);
      }

      @Override
      public int[] pair(int index) {
        return new int[0];
      }

      @Override
      public int[] classes(int index) {
        return new int[0];
      }

      @Override
      public float[] values(int index) {
        return new float[0];
      }
    };
  }

  /**
   * Words are tokenised one by one between the special tokens that the model puts around a text;
   * the first piece of a word carries its label, the others do not count.
   */
  private void addWords(Examples.Builder builder, RawExample row) {
    int[] frame = tokenizer.encode("");
    float[] labels = row.targets().values();
    String[] words = row.text().split(String.valueOf(RowReader.WORD_SEPARATOR), -1);
    List<Integer> tokens = new ArrayList<>(List.of(frame[0]));
    List<Integer> classes = new ArrayList<>(List.of(IGNORED));
    for (int w = 0; w < words.length; w++) {
      // Vocabularies that mark the start of a word do so by the space before it.
      int[] pieces = tokenizer.encode(w == 0 ? words[w] : " " + words[w]);
      for (int p = 1; p < pieces.length - 1 && tokens.size() < task.maxLength() - 1; p++) {
        tokens.add(pieces[p]);
        classes.add(p == 1 ? (int) labels[w] : IGNORED);
      }
    }
    tokens.add(frame[frame.length - 1]);
    classes.add(IGNORED);
    builder.addTokenClasses(ints(tokens), ints(classes));
  }

  private static int[] ints(List<Integer> list) {
    return list.stream().mapToInt(Integer::intValue).toArray();
  }

  private List<Long> labelCounts(List<RawExample> rows) {
    if (task.labels().isEmpty()) {
      return List.of((long) rows.size());
    }
    Long[] counts = new Long[task.labels().size()];
    Arrays.fill(counts, 0L);
    boolean hot = task.task().equals("multi-label-classification");
    for (RawExample row : rows) {
      float[] targets = row.targets().values();
      for (int i = 0; i < targets.length; i++) {
        int label = hot ? i : (int) targets[i];
        if (!hot || targets[i] > 0) {
          counts[label]++;
        }
      }
    }
    return Collections.unmodifiableList(Arrays.asList(counts));
  }
}
