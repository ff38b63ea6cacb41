package org.sparkpeft.core.data;

import java.nio.ByteBuffer;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.model.TokenExamples;

/**
 * Immutable examples of one client. Their order is that of a hash of their content, whatever the
 * order of arrival, so that a training's result does not depend on how the data was partitioned.
 */
public final class Examples implements TokenExamples {
  /** Tasks that examples can be of. */
  public static final int MAX_TASKS = 10_000;

  private static final int[] NO_INTS = {};
  private static final float[] NO_FLOATS = {};

  /** One example; arrays are not shared with callers. */
  record Example(
      int[] tokens,
      int[] pair,
      int[] classes,
      float[] values,
      float[] input,
      int[] shape,
      int task) {

    /**
     * SHA-256 over all arrays with their lengths; of a text, which has no input and shape, over the
     * others; of a task above 0 over its number too.
     */
    byte[] hash() {
      boolean media = shape.length > 0;
      long size = 4L * (4 + tokens.length + pair.length + classes.length + values.length);
      size += media ? 4L * (2 + input.length + shape.length) : 0;
      size += task > 0 ? 4L : 0;
      ByteBuffer bytes = ByteBuffer.allocate(Math.toIntExact(size));
      for (int[] ints : List.of(tokens, pair, classes)) {
        bytes.putInt(ints.length);
        for (int value : ints) {
          bytes.putInt(value);
        }
      }
      put(bytes, values);
      if (media) {
        put(bytes, input);
        bytes.putInt(shape.length);
        for (int length : shape) {
          bytes.putInt(length);
        }
      }
      if (task > 0) {
        bytes.putInt(task);
      }
      try {
        return MessageDigest.getInstance("SHA-256").digest(bytes.array());
      } catch (NoSuchAlgorithmException e) {
        throw new IllegalStateException("every Java runtime has SHA-256", e);
      }
    }
  }

  private static void put(ByteBuffer bytes, float[] values) {
    bytes.putInt(values.length);
    for (float value : values) {
      bytes.putFloat(value);
    }
  }

  private record Keyed(byte[] key, Example example) {}

  private final List<Example> examples;

  private Examples(List<Example> arrived) {
    List<Keyed> keyed = new ArrayList<>(arrived.size());
    for (Example example : arrived) {
      keyed.add(new Keyed(example.hash(), example));
    }
    keyed.sort(Comparator.comparing(Keyed::key, Arrays::compareUnsigned));
    this.examples = keyed.stream().map(Keyed::example).toList();
  }

  public static Builder builder() {
    return new Builder();
  }

  /** All examples of the given parts together; the order of the parts does not matter. */
  public static Examples concat(List<Examples> parts) {
    List<Example> all = new ArrayList<>();
    parts.forEach(part -> all.addAll(part.examples));
    return new Examples(all);
  }

  /**
   * The Arrow IPC stream of these examples behind a short header with a checksum. The same examples
   * give the same bytes.
   */
  public byte[] toArrow() {
    return ExamplesFormat.write(examples);
  }

  /**
   * What {@link #toArrow} wrote.
   *
   * @throws org.sparkpeft.core.error.FormatException if the bytes are anything else
   */
  public static Examples fromArrow(byte[] bytes) {
    return new Examples(ExamplesFormat.read(bytes));
  }

  @Override
  public int size() {
    return examples.size();
  }

  @Override
  public int[] tokens(int index) {
    return examples.get(index).tokens();
  }

  @Override
  public int[] pair(int index) {
    return examples.get(index).pair();
  }

  @Override
  public int[] documents(int index) {
    Example example = examples.get(index);
    // What has a class for each token has no second text.
    return example.classes().length == example.tokens().length ? example.pair() : NO_INTS;
  }

  @Override
  public int[] classes(int index) {
    return examples.get(index).classes();
  }

  @Override
  public float[] values(int index) {
    return examples.get(index).values();
  }

  @Override
  public float[] input(int index) {
    return examples.get(index).input();
  }

  @Override
  public int[] shape(int index) {
    return examples.get(index).shape();
  }

  @Override
  public int task(int index) {
    return examples.get(index).task();
  }

  /** Number of tokens of all texts. */
  public long totalTokens() {
    long sum = 0;
    for (Example example : examples) {
      sum += example.tokens().length + example.pair().length;
    }
    return sum;
  }

  /** Collects examples in any order. */
  public static final class Builder {
    private final List<Example> examples = new ArrayList<>();
    private int task;

    private Builder() {}

    /**
     * Examples added from now on are of this task; those before are of task 0.
     *
     * @param number 0..{@link #MAX_TASKS} - 1
     */
    public Builder ofTask(int number) {
      if (number < 0 || number >= MAX_TASKS) {
        throw new DataException("tasks are numbered 0.." + (MAX_TASKS - 1) + ", got " + number);
      }
      task = number;
      return this;
    }

    /** A text of one class. */
    public Builder addClass(int[] tokens, int label) {
      return add(tokens, NO_INTS, new int[] {label}, NO_FLOATS);
    }

    /**
     * An image or a recording of one class.
     *
     * @param input its values, row-major in {@code shape}, as {@link TokenExamples} has them
     */
    public Builder addMedia(float[] input, int[] shape, int label) {
      long size = Arrays.stream(shape).asLongStream().reduce(1, Math::multiplyExact);
      if (shape.length == 0 || size != input.length || size == 0) {
        throw new DataException(
            input.length + " values do not fill the shape " + Arrays.toString(shape));
      }
      examples.add(
          new Example(
              NO_INTS, NO_INTS, new int[] {label}, NO_FLOATS, input.clone(), shape.clone(), task));
      return this;
    }

    /** A text with a value, or with one 0 or 1 for each label. */
    public Builder addValues(int[] tokens, float... values) {
      for (float value : values) {
        if (!Float.isFinite(value)) {
          throw new DataException("labels must be finite numbers, got " + value);
        }
      }
      return add(tokens, NO_INTS, NO_INTS, values.clone());
    }

    /** A text with a class for each token, -100 for those that do not count. */
    public Builder addTokenClasses(int[] tokens, int[] labels) {
      if (tokens.length != labels.length) {
        throw new DataException(tokens.length + " tokens with " + labels.length + " labels");
      }
      return add(tokens, NO_INTS, labels.clone(), NO_FLOATS);
    }

    /**
     * Several documents in one sequence, which do not see each other.
     *
     * @param tokens of all documents
     * @param labels a class for each token, -100 for those that do not count, among them the first
     *     of each document
     * @param lengths tokens of each document, all above 0
     */
    public Builder addDocuments(int[] tokens, int[] labels, int[] lengths) {
      if (tokens.length != labels.length || Arrays.stream(lengths).sum() != tokens.length) {
        throw new DataException(
            tokens.length
                + " tokens with "
                + labels.length
                + " labels in documents of "
                + Arrays.toString(lengths));
      }
      return add(tokens, lengths.clone(), labels.clone(), NO_FLOATS);
    }

    /** A text with the tokens of another that is to be made from it. */
    public Builder addTargets(int[] tokens, int[] targets) {
      if (targets.length == 0) {
        throw new DataException("the text to be made from another has no tokens");
      }
      return add(tokens, NO_INTS, targets.clone(), NO_FLOATS);
    }

    /** Two texts that belong together. */
    public Builder addPair(int[] first, int[] second) {
      if (second.length == 0) {
        throw new DataException("the second text of a pair has no tokens");
      }
      return add(first, second.clone(), NO_INTS, NO_FLOATS);
    }

    /**
     * Two completions of a prompt, each with the prompt in front.
     *
     * @param promptLength tokens of the prompt, which both start with
     * @throws DataException if a completion has no tokens or both are the same
     */
    public Builder addPreference(int[] chosen, int[] rejected, int promptLength) {
      requireCompletion(chosen, promptLength);
      requireCompletion(rejected, promptLength);
      if (Arrays.equals(chosen, rejected)) {
        throw new DataException(
            "the tokens of a chosen and a rejected completion are the same; leave the pair out, or"
                + " raise max_length if they differ after it");
      }
      return add(chosen, rejected.clone(), new int[] {promptLength}, NO_FLOATS);
    }

    /**
     * A completion that is desirable or not, with its prompt in front.
     *
     * @param mismatched the prompt with the completion of another prompt; where there is none, the
     *     example itself
     * @param promptLength tokens of the prompt, which both start with
     * @throws DataException if a completion has no tokens
     */
    public Builder addJudged(int[] tokens, int[] mismatched, int promptLength, boolean desirable) {
      requireCompletion(tokens, promptLength);
      requireCompletion(mismatched, promptLength);
      float[] value = {desirable ? 1 : 0};
      return add(tokens, mismatched.clone(), new int[] {promptLength}, value);
    }

    private static void requireCompletion(int[] tokens, int promptLength) {
      if (promptLength < 1 || promptLength >= tokens.length) {
        throw new DataException(
            "prompt and completion need at least one token each, got "
                + promptLength
                + " and "
                + (tokens.length - promptLength));
      }
    }

    private Builder add(int[] tokens, int[] pair, int[] classes, float[] values) {
      if (tokens.length == 0) {
        throw new DataException("a text has no tokens; leave it out");
      }
      examples.add(new Example(tokens.clone(), pair, classes, values, NO_FLOATS, NO_INTS, task));
      return this;
    }

    public Examples build() {
      return new Examples(examples);
    }
  }
}
