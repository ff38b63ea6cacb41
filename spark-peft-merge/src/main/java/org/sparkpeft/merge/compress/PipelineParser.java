package org.sparkpeft.merge.compress;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.random.Philox;

/** Reads the spelling of a {@link Pipeline}. */
final class PipelineParser {
  private static final String KEY = "pipeline";
  private static final Pattern STAGE = Pattern.compile("([a-z0-9]+)(?:\\(([^()|]*)\\))?");

  private PipelineParser() {}

  /** A name and its arguments, as in {@code topk(0.1, tensor)}. */
  private record Stage(String name, List<String> arguments) {
    double number(int index, double absent) {
      if (index >= arguments.size()) {
        return absent;
      }
      try {
        return Double.parseDouble(arguments.get(index));
      } catch (NumberFormatException e) {
        throw new ConfigException(
            KEY,
            name + " needs a number in place " + (index + 1) + ", got " + arguments.get(index));
      }
    }

    double number(int index) {
      if (index >= arguments.size()) {
        throw new ConfigException(
            KEY, name + " needs " + (index + 1) + " numbers, got " + arguments);
      }
      return number(index, Double.NaN);
    }

    String word(int index, String absent, List<String> allowed) {
      String word = index < arguments.size() ? arguments.get(index) : absent;
      if (!allowed.contains(word)) {
        throw new ConfigException(
            KEY, name + " takes " + String.join(" or ", allowed) + ", got " + word);
      }
      return word;
    }

    Stage atMost(int count) {
      if (arguments.size() > count) {
        throw new ConfigException(
            KEY, name + " takes at most " + count + " arguments, got " + arguments);
      }
      return this;
    }
  }

  static Pipeline parse(String text) {
    List<Stage> stages = new ArrayList<>();
    for (String part : text.split("\\|", -1)) {
      stages.add(stage(part.strip(), text));
    }
    try {
      return assemble(text, stages);
    } catch (IllegalArgumentException e) {
      throw new ConfigException(KEY, e.getMessage() + " in " + text);
    }
  }

  private static Stage stage(String part, String text) {
    Matcher matcher = STAGE.matcher(part);
    if (!matcher.matches()) {
      throw new ConfigException(
          KEY,
          "stages look like topk(0.1) and are separated by |, got \"" + part + "\" in " + text);
    }
    List<String> arguments = new ArrayList<>();
    if (matcher.group(2) != null && !matcher.group(2).isBlank()) {
      for (String argument : matcher.group(2).split(",", -1)) {
        arguments.add(argument.strip());
      }
    }
    return new Stage(matcher.group(1), List.copyOf(arguments));
  }

  private static Pipeline assemble(String text, List<Stage> stages) {
    int next = 0;
    Optional<Sparsifier> sparsifier = Optional.empty();
    Optional<RandomK> randomK = Optional.empty();
    Stage first = stages.get(0);
    if (first.name().equals("randomk")) {
      randomK = Optional.of(new RandomK(first.atMost(1).number(0)));
      next++;
    } else if (first.name().equals("all")) {
      first.atMost(0);
      next++;
    } else {
      sparsifier = sparsifier(first);
      next += sparsifier.isPresent() ? 1 : 0;
    }
    if (next == stages.size()) {
      throw new ConfigException(KEY, "a quantiser must follow, such as fp16, in " + text);
    }
    Pipeline.Quantisation quantisation = quantisation(stages.get(next++));
    Optional<PositionCoder> coder =
        next < stages.size() ? coder(stages.get(next++)) : Optional.empty();
    if (next < stages.size()) {
      throw new ConfigException(
          KEY, "nothing may follow the coder, got " + stages.get(next).name() + " in " + text);
    }
    return new Pipeline(text, sparsifier, randomK, quantisation, coder);
  }

  private static Optional<Sparsifier> sparsifier(Stage stage) {
    return switch (stage.name()) {
      case "topk" -> {
        boolean perTensor =
            stage.atMost(2).word(1, "global", List.of("global", "tensor")).equals("tensor");
        yield Optional.of(new TopK(stage.number(0), perTensor));
      }
      case "rowtopk" -> Optional.of(new Sparsifiers.TopKByRow(stage.atMost(1).number(0)));
      case "threshold" -> Optional.of(new Sparsifiers.Threshold(stage.atMost(1).number(0)));
      case "breadcrumbs" ->
          Optional.of(
              new Sparsifiers.Breadcrumbs(stage.atMost(2).number(0), stage.number(1, 0.01)));
      case "dare" -> Optional.of(new Sparsifiers.Dare(stage.atMost(1).number(0)));
      case "della" ->
          Optional.of(new Sparsifiers.Della(stage.atMost(2).number(0), stage.number(1)));
      default -> Optional.empty();
    };
  }

  private static Pipeline.Quantisation quantisation(Stage stage) {
    return switch (stage.name()) {
      case "fp32" -> fixed(stage, new FullPrecision());
      case "fp16" -> fixed(stage, new HalfPrecision());
      case "bf16" -> fixed(stage, new BrainFloat());
      case "int8" -> integers(stage, 8);
      case "int4" -> integers(stage, 4);
      case "int2" -> integers(stage, 2);
      case "ternary" -> ternary(stage.atMost(2));
      case "sign" -> {
        float magnitude = (float) stage.atMost(1).number(0, 1);
        require(magnitude > 0 && Float.isFinite(magnitude), "sign needs a magnitude above 0");
        yield (values, kept, random) -> new Ternary.Fixed(magnitude);
      }
      case "qsgd" -> {
        double levels = stage.atMost(1).number(0);
        require(
            levels == Math.rint(levels) && levels >= 1 && levels <= Qsgd.MAX_LEVELS,
            "qsgd needs 1.." + Qsgd.MAX_LEVELS + " levels, got " + levels);
        yield (values, kept, random) -> new Qsgd.Rounding((int) levels, rounding(random));
      }
      default ->
          throw new ConfigException(
              KEY,
              "there is no stage "
                  + stage.name()
                  + " here; sparsifiers: all, topk, rowtopk, threshold, randomk, breadcrumbs, dare,"
                  + " della; then a quantiser: fp32, fp16, bf16, int8, int4, int2, ternary, sign,"
                  + " qsgd; then a coder");
    };
  }

  private static Pipeline.Quantisation fixed(Stage stage, Quantiser quantiser) {
    stage.atMost(0);
    return (values, kept, random) -> quantiser;
  }

  private static Pipeline.Quantisation integers(Stage stage, int bits) {
    boolean stochastic =
        stage.atMost(1).word(0, "nearest", List.of("nearest", "stochastic")).equals("stochastic");
    return (values, kept, random) ->
        new BlockInteger.Rounding(
            bits, stochastic ? Optional.of(rounding(random)) : Optional.empty());
  }

  private static Philox rounding(Philox random) {
    return random.child(Philox.hash("rounding"));
  }

  private static Pipeline.Quantisation ternary(Stage stage) {
    double factor = stage.number(1, 1);
    require(factor > 0 && Double.isFinite(factor), "ternary needs a factor above 0");
    return switch (stage.word(0, "mean", List.of("mean", "sigma", "stc"))) {
      case "mean" -> (values, kept, random) -> new Ternary.Mean(factor);
      case "sigma" ->
          (values, kept, random) ->
              new Ternary.Fixed(Ternary.representable(factor * Ternary.sampleDeviation(values)));
      default ->
          (values, kept, random) ->
              new Ternary.Fixed(
                  Ternary.representable(factor * Ternary.meanMagnitude(kept, 0, kept.length)));
    };
  }

  private static Optional<PositionCoder> coder(Stage stage) {
    return switch (stage.atMost(0).name()) {
      case "auto" -> Optional.empty();
      case "range" -> Optional.of(PositionCoder.RANGE);
      case "rice" -> Optional.of(PositionCoder.RICE);
      case "rans" -> Optional.of(PositionCoder.RANS);
      case "golomb" -> Optional.of(PositionCoder.GOLOMB);
      case "bitmask" -> Optional.of(PositionCoder.BITMASK);
      case "base3" -> Optional.of(PositionCoder.TERNARY_DIGITS);
      case "list" -> Optional.of(PositionCoder.LIST);
      default ->
          throw new ConfigException(
              KEY,
              "coders are auto, range, rice, golomb, rans, bitmask, base3, list; got "
                  + stage.name());
    };
  }

  private static void require(boolean ok, String message) {
    if (!ok) {
      throw new ConfigException(KEY, message);
    }
  }
}
