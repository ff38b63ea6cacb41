package org.sparkpeft.federated.track;

import java.util.Collection;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/** How metrics are chosen and shown. Names are those of the evaluation events. */
final class Metric {
  private static final List<String> PREFERRED =
      List.of(
          "exact_match",
          "gsm8k",
          "rouge_l",
          "accuracy",
          "macro_f1",
          "micro_f1",
          "f1",
          "spearman",
          "pearson",
          "mcc",
          "wer",
          "perplexity");
  private static final Set<String> FRACTIONS =
      Set.of(
          "accuracy",
          "macro_f1",
          "micro_f1",
          "f1",
          "precision",
          "recall",
          "subset_accuracy",
          "exact_match",
          "gsm8k",
          "rouge_l");

  private Metric() {}

  /**
   * The metric to show first: what compares texts, then accuracy; never the loss if there is
   * another.
   */
  static Optional<String> primary(Collection<String> names) {
    return PREFERRED.stream()
        .filter(names::contains)
        .findFirst()
        .or(() -> names.stream().filter(name -> !name.equals("loss")).sorted().findFirst())
        .or(() -> names.stream().findFirst());
  }

  static boolean isFraction(String name) {
    return FRACTIONS.contains(name);
  }

  static String show(String name, double value) {
    return isFraction(name) ? Text.percent(value) : Text.decimal(value, 3);
  }

  /** {@code Macro F1} for {@code macro_f1}. */
  static String title(String name) {
    String words = name.replace('_', ' ').replace("f1", "F1");
    switch (name) {
      case "mcc":
        return "Matthews correlation";
      case "gsm8k":
        return "GSM8K accuracy";
      case "rouge_l":
        return "ROUGE-L";
      case "wer":
        return "Word error rate";
      default:
        break;
    }
    return words.isEmpty() ? name : Character.toUpperCase(words.charAt(0)) + words.substring(1);
  }
}
