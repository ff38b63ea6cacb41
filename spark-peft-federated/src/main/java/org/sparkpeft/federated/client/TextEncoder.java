package org.sparkpeft.federated.client;

import java.util.ArrayList;
import java.util.List;
import org.sparkpeft.core.data.Examples;
import org.sparkpeft.core.model.TokenExamples;
import org.sparkpeft.core.text.TextTokenizer;
import org.sparkpeft.core.train.TaskConfig;

/** Turns texts into tokens. */
final class TextEncoder implements ExampleEncoder {
  /** A token whose label does not count. */
  private static final int IGNORED = -100;

  private final TextTokenizer tokenizer;
  private final TaskConfig task;

  TextEncoder(TextTokenizer tokenizer, TaskConfig task) {
    this.tokenizer = tokenizer;
    this.task = task;
  }

  @Override
  public ClientShard shard(String clientId, List<RawExample> rows) {
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
    return ClientShard.of(task, clientId, rows, builder.build());
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

  @Override
  public TokenExamples unlabelled(List<RawExample> rows) {
    List<int[]> tokens = tokenizer.encodeAll(rows.stream().map(RawExample::text).toList());
    return new Unlabelled() {
      @Override
      public int size() {
        return tokens.size();
      }

      @Override
      public int[] tokens(int index) {
        return tokens.get(index);
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
}
