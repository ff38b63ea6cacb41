package org.sparkpeft.core.generate;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.sparkpeft.core.random.Philox;

/** Texts that grow by one chosen token at a time: the likeliest, or one drawn by chance. */
final class Choosing {

  /** A text in progress. */
  private static final class Row {
    private final Philox chance;
    private final int at;
    private LogitsProcessor.Text text;
    private double sum;

    Row(Philox chance, int at, LogitsProcessor.Text text) {
      this.chance = chance;
      this.at = at;
      this.text = text;
    }
  }

  private final GenerationConfig config;
  private final List<LogitsProcessor> processors;
  private final Ending ending;

  Choosing(GenerationConfig config, List<LogitsProcessor> rules, Ending ending) {
    this.config = config;
    this.processors = new ArrayList<>(rules);
    if (config.sampling().doSample()) {
      processors.addAll(Warpers.of(config.sampling()));
    }
    this.ending = ending;
  }

  /**
   * Continues texts until each has ended.
   *
   * @param numbers of the texts; decide with the seed what is drawn
   */
  List<List<Generated>> run(
      NextTokens decoding, List<LogitsProcessor.Text> prompts, long[] numbers) {
    int copies = config.beams().numReturnSequences();
    List<Row> rows = new ArrayList<>();
    for (int i = 0; i < prompts.size() * copies; i++) {
      Philox chance = Philox.of(config.seed(), "generate", numbers[i / copies], i % copies);
      rows.add(new Row(chance, i, prompts.get(i / copies)));
    }
    Generated[] done = new Generated[rows.size()];
    float[][] logits = decoding.next(); // one row for each prompt, then one for each row
    int[] source = rows.stream().mapToInt(row -> row.at / copies).toArray();
    while (true) {
      List<Row> going = new ArrayList<>();
      List<Integer> from = new ArrayList<>();
      for (int i = 0; i < rows.size(); i++) {
        Row row = rows.get(i);
        grow(row, logits[source[i]]);
        if (ending.reached(row.text)) {
          done[row.at] = result(row);
        } else {
          going.add(row);
          from.add(source[i]);
        }
      }
      if (going.isEmpty()) {
        return grouped(done, copies);
      }
      decoding.go(
          from.stream().mapToInt(i -> i).toArray(),
          going.stream().map(row -> row.text.tokens()).toList());
      logits = decoding.next();
      rows = going;
      source = new int[rows.size()];
      Arrays.setAll(source, i -> i);
    }
  }

  private void grow(Row row, float[] logits) {
    float[] scores = logits.clone();
    processors.forEach(processor -> processor.apply(row.text, scores));
    int token =
        config.sampling().doSample()
            ? draw(scores, row.chance.doubleAt(row.text.fresh()))
            : likeliest(scores);
    row.sum += Warpers.logProbabilities(logits)[token];
    row.text = row.text.with(token);
  }

  /** The first of the tokens with the highest score. */
  private static int likeliest(float[] scores) {
    int best = 0;
    for (int i = 1; i < scores.length; i++) {
      if (scores[i] > scores[best]) {
        best = i;
      }
    }
    return best;
  }

  /** The token at a point of the distribution, {@code where} from 0 to below 1. */
  private static int draw(float[] scores, double where) {
    double[] probabilities = Warpers.probabilities(scores);
    double left = where * Arrays.stream(probabilities).sum();
    int last = 0;
    for (int i = 0; i < probabilities.length; i++) {
      if (probabilities[i] > 0) {
        last = i;
        left -= probabilities[i];
        if (left < 0) {
          return i;
        }
      }
    }
    return last;
  }

  private Generated result(Row row) {
    int[] tokens = row.text.tokens();
    int fresh = row.text.fresh();
    return new Generated(
        Arrays.copyOfRange(tokens, row.text.prompt(), tokens.length),
        row.sum / Math.pow(fresh, config.beams().lengthPenalty()));
  }

  private static List<List<Generated>> grouped(Generated[] all, int size) {
    List<List<Generated>> groups = new ArrayList<>();
    for (int i = 0; i < all.length; i += size) {
      groups.add(List.of(Arrays.copyOfRange(all, i, i + size)));
    }
    return groups;
  }
}
