package org.sparkpeft.core.train;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.Serializable;
import java.io.UncheckedIOException;
import java.math.BigDecimal;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.core.error.FormatException;

/**
 * Scores of a model on some examples, as exact counts: merging the evaluations of parts of a data
 * set, in any order, gives the evaluation of the whole, to the last bit. Immutable.
 */
public final class Evaluation implements Serializable {
  private static final long serialVersionUID = 1L;

  /** A loss is counted in units of 2^-24, at most {@link #MAX_LOSS}. */
  private static final double UNITS = 0x1p24;

  private static final double MAX_LOSS = 1e6;

  private enum Kind {
    CLASSES,
    LABELS,
    VALUES,
    RETRIEVAL,
    LANGUAGE,
    PREFERENCE
  }

  private final Kind kind;
  private final long items;
  private final long lossUnits;
  private final long[][] counts;
  private final BigDecimal[] moments;

  private Evaluation(Kind kind, long items, long lossUnits, long[][] counts, BigDecimal[] moments) {
    this.kind = kind;
    this.items = items;
    this.lossUnits = lossUnits;
    this.counts = counts;
    this.moments = moments;
  }

  /** Nothing yet, one class out of several: {@code counts[truth][predicted]}. */
  static Evaluation ofClasses(int classes) {
    return new Evaluation(Kind.CLASSES, 0, 0, new long[classes][classes], new BigDecimal[0]);
  }

  /**
   * Nothing yet, any number of labels: {@code counts[label][2 truth + predicted]}, and a last row
   * {@code [inexact, exact]}.
   */
  static Evaluation ofLabels(int labels) {
    return new Evaluation(Kind.LABELS, 0, 0, new long[labels + 1][4], new BigDecimal[0]);
  }

  /** Nothing yet, values: exact sums of y, p, yy, pp, yp and their number. */
  static Evaluation ofValues() {
    BigDecimal[] zeros = new BigDecimal[6];
    java.util.Arrays.fill(zeros, BigDecimal.ZERO);
    return new Evaluation(Kind.VALUES, 0, 0, new long[0][0], zeros);
  }

  /** Nothing yet, partner found among the batch: {@code counts[0][found]}. */
  static Evaluation ofRetrieval() {
    return new Evaluation(Kind.RETRIEVAL, 0, 0, new long[1][2], new BigDecimal[0]);
  }

  /** Nothing yet, words predicted: {@code counts[0][right]}; items are tokens. */
  static Evaluation ofLanguage() {
    return new Evaluation(Kind.LANGUAGE, 0, 0, new long[1][2], new BigDecimal[0]);
  }

  /**
   * Nothing yet, preferences: {@code counts[0]} is those got wrong, right and neither way; exact
   * sums and numbers of the rewards of what is preferred and of what is not.
   */
  static Evaluation ofPreferences() {
    BigDecimal[] zeros = new BigDecimal[4];
    java.util.Arrays.fill(zeros, BigDecimal.ZERO);
    return new Evaluation(Kind.PREFERENCE, 0, 0, new long[1][3], zeros);
  }

  /**
   * The evaluation of both sets of examples together.
   *
   * @throws IllegalArgumentException if they are of different tasks
   */
  public Evaluation merge(Evaluation other) {
    Counter counter = counter();
    counter.add(other);
    return counter.result();
  }

  /** A counter that starts from these counts. */
  Counter counter() {
    return new Counter(this);
  }

  /** Number of examples scored; where there are outputs for each token, of tokens. */
  public long items() {
    return items;
  }

  /** Mean loss; 0 without examples. */
  public double loss() {
    return items == 0 ? 0 : lossUnits / UNITS / items;
  }

  /**
   * Fraction of items predicted right; for several labels, of examples with every label right; of
   * preferences, of those whose rewards are in the right order, a tie being half. 0 for values.
   */
  public double accuracy() {
    double right = 0;
    switch (kind) {
      case CLASSES -> {
        for (int c = 0; c < counts.length; c++) {
          right += counts[c][c];
        }
      }
      case LABELS -> right = counts[counts.length - 1][1];
      case RETRIEVAL, LANGUAGE -> right = counts[0][1];
      case PREFERENCE -> right = counts[0][1] + counts[0][2] / 2.0;
      case VALUES -> {}
    }
    return items == 0 ? 0 : right / items;
  }

  /** Mean of the F1 scores of all classes that occur in truth or prediction. */
  public double macroF1() {
    double sum = 0;
    int occurring = 0;
    for (int label = 0; label < labels(); label++) {
      long[] c = outcomes(label);
      if (c[0] + c[1] + c[2] > 0) {
        sum += 2.0 * c[0] / (2.0 * c[0] + c[1] + c[2]);
        occurring++;
      }
    }
    return occurring == 0 ? 0 : sum / occurring;
  }

  /** F1 of the outcomes of all labels together; equals accuracy when there is one class each. */
  public double microF1() {
    long[] total = new long[3];
    for (int label = 0; label < labels(); label++) {
      long[] c = outcomes(label);
      for (int i = 0; i < 3; i++) {
        total[i] += c[i];
      }
    }
    long denominator = 2 * total[0] + total[1] + total[2];
    return denominator == 0 ? 0 : 2.0 * total[0] / denominator;
  }

  /**
   * Matthews' correlation for several classes (Gorodkin 2004); 0 when either side has one class
   * only.
   */
  public double mcc() {
    if (kind != Kind.CLASSES) {
      return 0;
    }
    double covariance = 0;
    double truths = (double) items * items;
    double predictions = (double) items * items;
    for (int c = 0; c < counts.length; c++) {
      double truth = 0;
      double predicted = 0;
      for (int other = 0; other < counts.length; other++) {
        truth += counts[c][other];
        predicted += counts[other][c];
      }
      covariance += (double) counts[c][c] * items - truth * predicted;
      truths -= truth * truth;
      predictions -= predicted * predicted;
    }
    double scale = Math.sqrt(truths) * Math.sqrt(predictions);
    return scale == 0 ? 0 : covariance / scale;
  }

  /** Pearson's correlation of values and predictions; 0 when either does not vary. */
  public double pearson() {
    if (kind != Kind.VALUES || moments[5].signum() == 0) {
      return 0;
    }
    BigDecimal n = moments[5];
    double covariance =
        n.multiply(moments[4]).subtract(moments[0].multiply(moments[1])).doubleValue();
    double truths = n.multiply(moments[2]).subtract(moments[0].pow(2)).doubleValue();
    double predictions = n.multiply(moments[3]).subtract(moments[1].pow(2)).doubleValue();
    double scale = Math.sqrt(truths) * Math.sqrt(predictions);
    return scale == 0 ? 0 : covariance / scale;
  }

  /** Mean reward of what is preferred (0) or not (1); 0 without any. */
  private double meanReward(int which) {
    double count = moments[2 * which + 1].doubleValue();
    return count == 0 ? 0 : moments[2 * which].doubleValue() / count;
  }

  /** {@code exp} of the mean loss. */
  public double perplexity() {
    return Math.exp(loss());
  }

  /** {@code counts[truth][predicted]}; empty unless the task predicts one class. */
  public long[][] confusion() {
    return kind == Kind.CLASSES ? copy(counts) : new long[0][0];
  }

  /** The metrics that make sense for the task, by name. */
  public SortedMap<String, Double> metrics() {
    SortedMap<String, Double> metrics = new TreeMap<>();
    metrics.put("loss", loss());
    switch (kind) {
      case CLASSES -> {
        metrics.put("accuracy", accuracy());
        metrics.put("macro_f1", macroF1());
        metrics.put("mcc", mcc());
      }
      case LABELS -> {
        metrics.put("accuracy", accuracy());
        metrics.put("macro_f1", macroF1());
        metrics.put("micro_f1", microF1());
      }
      case RETRIEVAL -> metrics.put("accuracy", accuracy());
      case LANGUAGE -> {
        metrics.put("accuracy", accuracy());
        metrics.put("perplexity", perplexity());
      }
      case PREFERENCE -> {
        metrics.put("accuracy", accuracy());
        metrics.put("reward_chosen", meanReward(0));
        metrics.put("reward_rejected", meanReward(1));
        metrics.put("reward_margin", meanReward(0) - meanReward(1));
      }
      case VALUES -> {
        metrics.put("mse", loss());
        metrics.put("pearson", pearson());
      }
    }
    return metrics;
  }

  private int labels() {
    return switch (kind) {
      case CLASSES -> counts.length;
      case LABELS -> counts.length - 1;
      case VALUES, RETRIEVAL, LANGUAGE, PREFERENCE -> 0;
    };
  }

  /** True positives, false positives, false negatives of a label. */
  private long[] outcomes(int label) {
    if (kind == Kind.LABELS) {
      return new long[] {counts[label][3], counts[label][1], counts[label][2]};
    }
    long[] outcomes = {counts[label][label], 0, 0};
    for (int other = 0; other < counts.length; other++) {
      if (other != label) {
        outcomes[1] += counts[other][label];
        outcomes[2] += counts[label][other];
      }
    }
    return outcomes;
  }

  private static long[][] copy(long[][] rows) {
    long[][] copy = new long[rows.length][];
    for (int i = 0; i < rows.length; i++) {
      copy[i] = rows[i].clone();
    }
    return copy;
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof Evaluation that
        && kind == that.kind
        && items == that.items
        && lossUnits == that.lossUnits
        && java.util.Arrays.deepEquals(counts, that.counts)
        && java.util.Arrays.equals(moments, that.moments);
  }

  @Override
  public int hashCode() {
    return Long.hashCode(lossUnits * 31 + items);
  }

  @Override
  public String toString() {
    return "Evaluation[" + items + " items, " + metrics() + "]";
  }

  /** These counts as bytes, for {@link #fromBytes}. */
  public byte[] toBytes() {
    try {
      ByteArrayOutputStream bytes = new ByteArrayOutputStream();
      DataOutputStream out = new DataOutputStream(bytes);
      out.writeByte(kind.ordinal());
      out.writeLong(items);
      out.writeLong(lossUnits);
      out.writeInt(counts.length);
      out.writeInt(counts.length == 0 ? 0 : counts[0].length);
      for (long[] row : counts) {
        for (long count : row) {
          out.writeLong(count);
        }
      }
      out.writeInt(moments.length);
      for (BigDecimal moment : moments) {
        out.writeUTF(moment.toString());
      }
      return bytes.toByteArray();
    } catch (IOException e) {
      throw new UncheckedIOException("cannot happen in memory", e);
    }
  }

  /**
   * Reads what {@link #toBytes} wrote.
   *
   * @throws FormatException if the bytes are anything else
   */
  public static Evaluation fromBytes(byte[] bytes) {
    try (DataInputStream in = new DataInputStream(new ByteArrayInputStream(bytes))) {
      Kind kind = Kind.values()[in.readByte()];
      long items = in.readLong();
      long lossUnits = in.readLong();
      int rows = in.readInt();
      int columns = in.readInt();
      if (rows < 0 || columns < 0 || 8L * rows * columns > in.available()) {
        throw new IOException(rows + " x " + columns + " counts in " + in.available() + " bytes");
      }
      long[][] counts = new long[rows][columns];
      for (long[] row : counts) {
        for (int c = 0; c < columns; c++) {
          row[c] = in.readLong();
        }
      }
      int size = in.readInt();
      if (size < 0 || size > 6) {
        throw new IOException(size + " moments");
      }
      BigDecimal[] moments = new BigDecimal[size];
      for (int i = 0; i < size; i++) {
        moments[i] = new BigDecimal(in.readUTF());
      }
      return new Evaluation(kind, items, lossUnits, counts, moments);
    } catch (IOException | IndexOutOfBoundsException | NumberFormatException e) {
      throw new FormatException("evaluation", "malformed: " + e.getMessage(), e);
    }
  }

  /** Adds up scores. */
  static final class Counter {
    private final Kind kind;
    private final long[][] counts;
    private final BigDecimal[] moments;
    private long items;
    private long lossUnits;

    private Counter(Evaluation start) {
      this.kind = start.kind;
      this.counts = copy(start.counts);
      this.moments = start.moments.clone();
      this.items = start.items;
      this.lossUnits = start.lossUnits;
    }

    /** Counts one item with its loss; losses that are not finite count as the largest. */
    void loss(double loss) {
      double bounded = loss < MAX_LOSS ? loss : MAX_LOSS;
      lossUnits = Math.addExact(lossUnits, Math.round(bounded * UNITS));
      items++;
    }

    void count(int row, int column) {
      counts[row][column]++;
    }

    void value(double truth, double predicted) {
      BigDecimal y = new BigDecimal(truth);
      BigDecimal p = new BigDecimal(predicted);
      BigDecimal[] terms = {y, p, y.multiply(y), p.multiply(p), y.multiply(p), BigDecimal.ONE};
      for (int i = 0; i < terms.length; i++) {
        moments[i] = moments[i].add(terms[i]).stripTrailingZeros();
      }
    }

    /** Counts whether what should be higher is. */
    void preferred(double higher, double lower) {
      counts[0][higher > lower ? 1 : higher < lower ? 0 : 2]++;
    }

    /** Adds the reward of a completion that is preferred, or of one that is not. */
    void reward(boolean chosen, double reward) {
      int at = chosen ? 0 : 2;
      BigDecimal exact = new BigDecimal(Double.isFinite(reward) ? reward : -MAX_LOSS);
      moments[at] = moments[at].add(exact).stripTrailingZeros();
      moments[at + 1] = moments[at + 1].add(BigDecimal.ONE).stripTrailingZeros();
    }

    void add(Evaluation other) {
      if (kind != other.kind || counts.length != other.counts.length) {
        throw new IllegalArgumentException("evaluations of different tasks cannot be merged");
      }
      items += other.items;
      lossUnits = Math.addExact(lossUnits, other.lossUnits);
      for (int i = 0; i < counts.length; i++) {
        for (int j = 0; j < counts[i].length; j++) {
          counts[i][j] += other.counts[i][j];
        }
      }
      for (int i = 0; i < moments.length; i++) {
        moments[i] = moments[i].add(other.moments[i]).stripTrailingZeros();
      }
    }

    Evaluation result() {
      return new Evaluation(kind, items, lossUnits, copy(counts), moments.clone());
    }
  }
}
