package org.sparkpeft.core.generate;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.PriorityQueue;

/**
 * Beam search as Hugging Face defines it: the best texts in progress grow side by side; one that
 * ends among the best competes by its length-penalised score for a place among the finished.
 */
final class BeamSearch {
  private static final Comparator<Generated> BEST =
      Comparator.comparingDouble(Generated::score).reversed();

  /**
   * A text in progress.
   *
   * @param row where the model has it
   * @param sum of the logarithms of its tokens' probabilities
   */
  private record Beam(int row, LogitsProcessor.Text text, double sum) {}

  /**
   * A beam with one more token.
   *
   * @param place beam and token as one number, for a definite order of equals
   */
  private record Candidate(Beam beam, int token, double sum, long place) {
    static final Comparator<Candidate> WORST =
        Comparator.comparingDouble(Candidate::sum)
            .thenComparing(Comparator.comparingLong(Candidate::place).reversed());
  }

  /** The search for one prompt. */
  private final class Example {
    private List<Beam> running;
    private List<Generated> finished = new ArrayList<>();

    Example(Beam start) {
      this.running = List.of(start);
    }

    boolean isFull() {
      return finished.size() == config.beams().numBeams();
    }

    /** One token more; leaves no beam running when nothing better can come. */
    void grow(float[][] logits) {
      int beams = config.beams().numBeams();
      List<Beam> next = new ArrayList<>();
      List<Candidate> best = best(logits);
      for (int rank = 0; rank < best.size(); rank++) {
        Candidate candidate = best.get(rank);
        LogitsProcessor.Text text = candidate.beam.text.with(candidate.token);
        if (!ending.reached(text)) {
          if (next.size() < beams) {
            next.add(new Beam(candidate.beam.row, text, candidate.sum));
          }
        } else if (rank < beams) {
          finished.add(result(text, candidate.sum));
        }
      }
      finished.sort(BEST);
      finished = new ArrayList<>(finished.subList(0, Math.min(beams, finished.size())));
      running = goesOn(next) ? next : List.of();
    }

    private List<Candidate> best(float[][] logits) {
      int most = Math.max(2, 1 + config.tokens().eos().size()) * config.beams().numBeams();
      PriorityQueue<Candidate> queue = new PriorityQueue<>(Candidate.WORST);
      for (int b = 0; b < running.size(); b++) {
        Beam beam = running.get(b);
        float[] scores = logProbabilities(logits[beam.row]);
        rules.forEach(rule -> rule.apply(beam.text, scores));
        for (int token = 0; token < scores.length; token++) {
          double sum = beam.sum + scores[token];
          boolean room = queue.size() < most;
          if (sum > Double.NEGATIVE_INFINITY && (room || sum > queue.element().sum)) {
            queue.add(new Candidate(beam, token, sum, (long) b * scores.length + token));
            if (!room) {
              queue.remove();
            }
          }
        }
      }
      List<Candidate> sorted = new ArrayList<>(queue);
      sorted.sort(Candidate.WORST.reversed());
      return sorted;
    }

    private boolean goesOn(List<Beam> next) {
      if (next.isEmpty()) {
        return false;
      }
      if (!isFull()) {
        return true;
      }
      GenerationConfig.Beams beams = config.beams();
      if (beams.earlyStopping() == GenerationConfig.EarlyStopping.TRUE) {
        return false;
      }
      LogitsProcessor.Text text = next.get(0).text;
      boolean longest =
          beams.earlyStopping() == GenerationConfig.EarlyStopping.NEVER
              && beams.lengthPenalty() > 0;
      double length = longest ? text.budget() : text.fresh();
      double hope = next.get(0).sum / Math.pow(length, beams.lengthPenalty());
      return hope > finished.get(finished.size() - 1).score();
    }
  }

  private final GenerationConfig config;
  private final List<LogitsProcessor> rules;
  private final Ending ending;

  BeamSearch(GenerationConfig config, List<LogitsProcessor> rules, Ending ending) {
    this.config = config;
    this.rules = rules;
    this.ending = ending;
  }

  /** The best texts for each prompt, best first. */
  List<List<Generated>> run(NextTokens decoding, List<LogitsProcessor.Text> prompts) {
    List<Example> all = new ArrayList<>();
    for (int i = 0; i < prompts.size(); i++) {
      all.add(new Example(new Beam(i, prompts.get(i), 0)));
    }
    List<Example> going = all;
    while (!going.isEmpty()) {
      float[][] logits = decoding.next();
      going.forEach(example -> example.grow(logits));
      going = going.stream().filter(example -> !example.running.isEmpty()).toList();
      placeBeams(decoding, going);
    }
    return all.stream().map(this::returned).toList();
  }

  private static void placeBeams(NextTokens decoding, List<Example> going) {
    List<Integer> from = new ArrayList<>();
    List<int[]> texts = new ArrayList<>();
    for (Example example : going) {
      List<Beam> placed = new ArrayList<>();
      for (Beam beam : example.running) {
        placed.add(new Beam(from.size(), beam.text, beam.sum));
        from.add(beam.row);
        texts.add(beam.text.tokens());
      }
      example.running = placed;
    }
    if (!going.isEmpty()) {
      decoding.go(from.stream().mapToInt(i -> i).toArray(), texts);
    }
  }

  private List<Generated> returned(Example example) {
    int count = Math.min(config.beams().numReturnSequences(), example.finished.size());
    return List.copyOf(example.finished.subList(0, count));
  }

  private Generated result(LogitsProcessor.Text text, double sum) {
    int[] tokens = text.tokens();
    return new Generated(
        Arrays.copyOfRange(tokens, text.prompt(), tokens.length),
        sum / Math.pow(text.fresh(), config.beams().lengthPenalty()));
  }

  private static float[] logProbabilities(float[] logits) {
    double[] logs = Warpers.logProbabilities(logits);
    float[] scores = new float[logs.length];
    for (int i = 0; i < scores.length; i++) {
      scores[i] = (float) logs[i];
    }
    return scores;
  }
}
