package org.sparkpeft.federated.client;

import java.io.Serializable;
import java.util.Arrays;
import java.util.Locale;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.random.Philox;

/**
 * Which client a row belongs to when the data has no client column. Rows are first put in an order
 * that depends only on their content and the seed; a row's client is then a pure function of its
 * place, so the assignment is the same however Spark cut the input.
 */
public sealed interface ClientPartitioner extends Serializable {

  /**
   * Whether rows are ordered by label first and by content within a label; otherwise by content
   * alone.
   */
  boolean byLabel();

  /**
   * The client of a row.
   *
   * @param label index of the row's label, 0 where there are none
   * @param rank place of the row, from 0: within its label for {@link Dirichlet}, in the whole for
   *     the others
   */
  int client(int label, long rank);

  /** Whether {@link #client} wants ranks within the label. */
  default boolean rankWithinLabel() {
    return false;
  }

  /** The zero-padded name of client {@code index} out of {@code count}. */
  static String name(int index, int count) {
    int width = Math.max(2, Integer.toString(count - 1).length());
    return String.format(Locale.ROOT, "client-%0" + width + "d", index);
  }

  /** Every row goes to a client independently of its label, in equal numbers. */
  record Iid(int count) implements ClientPartitioner {
    @Override
    public boolean byLabel() {
      return false;
    }

    @Override
    public int client(int label, long rank) {
      return (int) (rank % count);
    }
  }

  /**
   * Rows sorted by label are cut into {@code count * labelsPerClient} shards, and each client gets
   * {@code labelsPerClient} of them.
   */
  final class Shards implements ClientPartitioner {
    private static final long serialVersionUID = 1L;
    private final long rows;
    private final int[] ownerOfShard;

    Shards(long seed, int count, int labelsPerClient, long rows) {
      this.rows = rows;
      int[] order =
          Philox.of(seed, "partition-shards")
              .permutation(Math.multiplyExact(count, labelsPerClient));
      ownerOfShard = new int[order.length];
      for (int i = 0; i < order.length; i++) {
        ownerOfShard[order[i]] = i / labelsPerClient;
      }
    }

    @Override
    public boolean byLabel() {
      return true;
    }

    @Override
    public int client(int label, long rank) {
      return ownerOfShard[
          (int) Math.min(ownerOfShard.length - 1, Math.floorDiv(rank * ownerOfShard.length, rows))];
    }
  }

  /** Sizes drawn from a Dirichlet distribution; labels alike for all. */
  final class Quantity implements ClientPartitioner {
    private static final long serialVersionUID = 1L;
    private final long[] cuts;

    Quantity(long[] cuts) {
      this.cuts = cuts.clone();
    }

    @Override
    public boolean byLabel() {
      return false;
    }

    @Override
    public int client(int label, long rank) {
      return clientOf(cuts, rank);
    }
  }

  /**
   * Each label's rows are spread over the clients by proportions drawn from a Dirichlet
   * distribution.
   */
  final class Dirichlet implements ClientPartitioner {
    private static final long serialVersionUID = 1L;
    private final long[][] cuts;

    Dirichlet(long[][] cuts) {
      this.cuts = Arrays.stream(cuts).map(long[]::clone).toArray(long[][]::new);
    }

    @Override
    public boolean byLabel() {
      return true;
    }

    @Override
    public boolean rankWithinLabel() {
      return true;
    }

    @Override
    public int client(int label, long rank) {
      return clientOf(cuts[label], rank);
    }
  }

  /**
   * Dirichlet label skew (Hsu et al. 2019, arXiv 1909.06335; the unbalanced form): for each label,
   * proportions from Dir(concentration), and its rows cut at the floors of the cumulated
   * proportions. Redrawn until every client has at least {@code minExamples}.
   *
   * @param labelCounts rows of each label
   * @throws DataException if 1,000 draws leave some client with fewer
   */
  static ClientPartitioner dirichlet(
      long seed, int count, double concentration, long minExamples, long[] labelCounts) {
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
      long[][] cuts = new long[labelCounts.length][];
      long[] sizes = new long[count];
      for (int label = 0; label < labelCounts.length; label++) {
        double[] shares =
            DirichletDraw.draw(
                Philox.of(seed, "partition-dirichlet", attempt, label), count, concentration);
        cuts[label] = cuts(shares, labelCounts[label]);
        addSizes(sizes, cuts[label]);
      }
      if (Arrays.stream(sizes).min().orElse(0) >= minExamples) {
        return new Dirichlet(cuts);
      }
    }
    throw tooFew(count, minExamples, labelCounts);
  }

  /**
   * Quantity skew: client sizes in proportions drawn from Dir(concentration), redrawn until each
   * has at least {@code minExamples}.
   */
  static ClientPartitioner quantity(
      long seed, int count, double concentration, long minExamples, long rows) {
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
      long[] cuts =
          cuts(
              DirichletDraw.draw(
                  Philox.of(seed, "partition-quantity", attempt), count, concentration),
              rows);
      long[] sizes = new long[count];
      addSizes(sizes, cuts);
      if (Arrays.stream(sizes).min().orElse(0) >= minExamples) {
        return new Quantity(cuts);
      }
    }
    throw tooFew(count, minExamples, new long[] {rows});
  }

  static ClientPartitioner iid(int count) {
    return new Iid(count);
  }

  static ClientPartitioner shards(long seed, int count, int labelsPerClient, long rows) {
    return new Shards(seed, count, labelsPerClient, rows);
  }

  /** Draws tried before giving up. */
  int ATTEMPTS = 1000;

  /**
   * Ends (exclusive) of each client's stretch of {@code rows}: the floors of the cumulated shares;
   * the last is {@code rows}.
   */
  static long[] cuts(double[] shares, long rows) {
    long[] cuts = new long[shares.length];
    double sum = 0;
    for (int i = 0; i < shares.length; i++) {
      sum += shares[i];
      cuts[i] = Math.min(rows, (long) Math.floor(sum * rows + 1e-9));
    }
    cuts[shares.length - 1] = rows;
    return cuts;
  }

  private static void addSizes(long[] sizes, long[] cuts) {
    long start = 0;
    for (int i = 0; i < cuts.length; i++) {
      sizes[i] += cuts[i] - start;
      start = cuts[i];
    }
  }

  private static int clientOf(long[] cuts, long rank) {
    int low = 0;
    int high = cuts.length - 1;
    while (low < high) {
      int middle = (low + high) >>> 1;
      if (rank < cuts[middle]) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    return low;
  }

  private static DataException tooFew(int count, long minExamples, long[] labelCounts) {
    return new DataException(
        "no partition of "
            + Arrays.stream(labelCounts).sum()
            + " rows into "
            + count
            + " clients with at least "
            + minExamples
            + " examples each was found in "
            + ATTEMPTS
            + " draws; lower clients.count or clients.min_examples, or raise clients.concentration");
  }

  /** Number of rows each client would get; for tests and reports. */
  static SortedMap<Integer, Long> sizes(ClientPartitioner partitioner, long[] labelCounts) {
    SortedMap<Integer, Long> sizes = new TreeMap<>();
    long index = 0;
    for (int label = 0; label < labelCounts.length; label++) {
      for (long i = 0; i < labelCounts[label]; i++, index++) {
        sizes.merge(
            partitioner.client(label, partitioner.rankWithinLabel() ? i : index), 1L, Long::sum);
      }
    }
    return sizes;
  }
}
