package org.sparkpeft.federated.client;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import org.sparkpeft.core.data.Examples;
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

  /** A client's rows, in the order given. */
  ClientShard shard(String clientId, List<RawExample> rows) {
    Examples examples = encode(rows, true);
    return new ClientShard(clientId, rows.size(), labelCounts(rows), Bytes.wrap(examples.toArrow()));
  }

  /** Rows without labels, for prediction. */
  Examples unlabelled(List<RawExample> rows) {
    return encode(rows, false);
  }

  private Examples encode(List<RawExample> rows, boolean labelled) {
    boolean pairs = task.task().equals("sentence-embedding");
    Examples.Builder builder = Examples.builder();
    for (RawExample row : rows) {
      if (task.task().equals("token-classification")) {
        addWords(builder, row, labelled);
        continue;
      }
      int[] tokens = pairs || row.pair().isEmpty() ? tokenizer.encode(row.text()) : tokenizer.encode(row.text(), row.pair());
      int[] pair = pairs && !row.pair().isEmpty() ? tokenizer.encode(row.pair()) : new int[0];
      if (!labelled || pairs) {
        builder.add(tokens, pair, new int[0], new float[0]);
      } else if (task.task().equals("text-classification")) {
        builder.add(tokens, pair, new int[] {row.targets().classIndex()}, new float[0]);
      } else {
        builder.add(tokens, pair, new int[0], row.targets().values());
      }
    }
    return builder.build();
  }

  /** The first piece of a word carries its label. */
  private void addWords(Examples.Builder builder, RawExample row, boolean labelled) {
    String[] words = row.text().split(String.valueOf(RowReader.WORD_SEPARATOR), -1);
    TextTokenizer.Words encoded = tokenizer.encodeWords(List.of(words));
    int[] labels = new int[encoded.tokens().length];
    float[] targets = row.targets().values();
    int before = -1;
    for (int i = 0; i < labels.length; i++) {
      int word = encoded.wordOf()[i];
      labels[i] = labelled && word >= 0 && word != before ? (int) targets[word] : IGNORED;
      before = word;
    }
    builder.add(encoded.tokens(), new int[0], labelled ? labels : new int[0], new float[0]);
  }

  private List<Long> labelCounts(List<RawExample> rows) {
    if (task.labels().isEmpty()) {
      return List.of((long) rows.size());
    }
    List<Long> counts = new ArrayList<>(Collections.nCopies(task.labels().size(), 0L));
    for (RawExample row : rows) {
      float[] targets = row.targets().values();
      for (int i = 0; i < targets.length; i++) {
        boolean hot = task.task().equals("multi-label-classification");
        int label = hot ? i : (int) targets[i];
        if (!hot || targets[i] > 0) {
          counts.set(label, counts.get(label) + 1);
        }
      }
    }
    return counts;
  }
}
