package org.sparkpeft.core.generate;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;

/**
 * Changes of scores that shape the distribution to draw from, defined as Hugging Face's {@code
 * LogitsWarper} classes define them. Each leaves at least one token.
 */
final class Warpers {
  private Warpers() {}

  /** The warpers of a configuration, in the order in which Hugging Face applies them. */
  static List<LogitsProcessor> of(GenerationConfig.Sampling sampling) {
    List<LogitsProcessor> warpers = new ArrayList<>();
    if (sampling.temperature() != 1) {
      warpers.add(temperature((float) sampling.temperature()));
    }
    if (sampling.topK() > 0) {
      warpers.add(topK(sampling.topK()));
    }
    if (sampling.topP() < 1) {
      warpers.add(topP(sampling.topP(), 1));
    }
    if (sampling.minP() > 0) {
      warpers.add(minP(sampling.minP()));
    }
    if (sampling.typicalP() < 1) {
      warpers.add(typicalP(sampling.typicalP()));
    }
    if (sampling.epsilonCutoff() > 0) {
      warpers.add(epsilonCutoff(sampling.epsilonCutoff()));
    }
    if (sampling.etaCutoff() > 0) {
      warpers.add(etaCutoff(sampling.etaCutoff()));
    }
    return warpers;
  }

  static LogitsProcessor temperature(float temperature) {
    return (text, scores) -> {
      for (int i = 0; i < scores.length; i++) {
        scores[i] /= temperature;
      }
    };
  }

  /** Tokens as likely as the k-th are kept too. */
  static LogitsProcessor topK(int k) {
    return (text, scores) -> {
      float[] sorted = scores.clone();
      Arrays.sort(sorted);
      float least = sorted[Math.max(0, sorted.length - k)];
      for (int i = 0; i < scores.length; i++) {
        if (scores[i] < least) {
          scores[i] = Float.NEGATIVE_INFINITY;
        }
      }
    };
  }

  /**
   * @param p the kept tokens' sum is the least that reaches this
   * @param kept fewest tokens to keep
   */
  static LogitsProcessor topP(double p, int kept) {
    return (text, scores) -> {
      double[] probabilities = probabilities(scores);
      Integer[] rising = order(scores.length, Comparator.comparingDouble(i -> scores[i]));
      double sum = 0;
      for (int i = 0; i < rising.length - kept; i++) {
        sum += probabilities[rising[i]];
        if (sum > 1 - p) {
          break;
        }
        scores[rising[i]] = Float.NEGATIVE_INFINITY;
      }
    };
  }

  static LogitsProcessor minP(double p) {
    return (text, scores) -> {
      double[] probabilities = probabilities(scores);
      double most = Arrays.stream(probabilities).max().orElse(0);
      cut(scores, probabilities, p * most);
    };
  }

  static LogitsProcessor typicalP(double p) {
    return (text, scores) -> {
      double[] probabilities = probabilities(scores);
      double entropy = entropy(probabilities);
      double[] distance = new double[scores.length];
      for (int i = 0; i < distance.length; i++) {
        distance[i] = Math.abs(-Math.log(probabilities[i]) - entropy);
      }
      Integer[] typical = order(scores.length, Comparator.comparingDouble(i -> distance[i]));
      int last = 0;
      double sum = probabilities[typical[0]];
      while (sum < p && last < typical.length - 1) {
        sum += probabilities[typical[++last]];
      }
      double farthest = distance[typical[last]];
      for (int i = 0; i < scores.length; i++) {
        if (distance[i] > farthest) {
          scores[i] = Float.NEGATIVE_INFINITY;
        }
      }
    };
  }

  static LogitsProcessor epsilonCutoff(double epsilon) {
    return (text, scores) -> cut(scores, probabilities(scores), epsilon);
  }

  static LogitsProcessor etaCutoff(double epsilon) {
    return (text, scores) -> {
      double[] probabilities = probabilities(scores);
      double eta = Math.min(epsilon, Math.sqrt(epsilon) * Math.exp(-entropy(probabilities)));
      cut(scores, probabilities, eta);
    };
  }

  /** Excludes tokens less likely than {@code least}, but not the likeliest. */
  private static void cut(float[] scores, double[] probabilities, double least) {
    double most = Arrays.stream(probabilities).max().orElse(0);
    for (int i = 0; i < scores.length; i++) {
      if (probabilities[i] < least && probabilities[i] < most) {
        scores[i] = Float.NEGATIVE_INFINITY;
      }
    }
  }

  private static double entropy(double[] probabilities) {
    return Arrays.stream(probabilities).map(p -> p > 0 ? -p * Math.log(p) : 0).sum();
  }

  private static Integer[] order(int length, Comparator<Integer> by) {
    Integer[] order = new Integer[length];
    Arrays.setAll(order, i -> i);
    Arrays.sort(order, by);
    return order;
  }

  static double[] probabilities(float[] scores) {
    double[] logs = logProbabilities(scores);
    for (int i = 0; i < logs.length; i++) {
      logs[i] = Math.exp(logs[i]);
    }
    return logs;
  }

  /** Logarithms of the softmax. */
  static double[] logProbabilities(float[] scores) {
    double most = Double.NEGATIVE_INFINITY;
    for (float score : scores) {
      most = Math.max(most, score);
    }
    double sum = 0;
    for (float score : scores) {
      sum += Math.exp(score - most);
    }
    double log = most + Math.log(sum);
    double[] logs = new double[scores.length];
    for (int i = 0; i < logs.length; i++) {
      logs[i] = scores[i] - log;
    }
    return logs;
  }
}
