package org.sparkpeft.federated.client;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.Arrays;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.random.Philox;

class ClientPartitionerTest {
  private static final long[] LABELS = {400, 30, 211, 7, 90};

  @Test
  void cutsAreFloorsOfCumulatedShares() {
    assertThat(ClientPartitioner.cuts(new double[] {.5, .3, .2}, 11)).containsExactly(5, 8, 11);
  }

  @ParameterizedTest
  @ValueSource(doubles = {0.01, 0.1, 0.5, 1, 100})
  void dirichletSharesAddUpAndSpreadWithConcentration(double concentration) {
    double meanSquare = 0;
    for (int draw = 0; draw < 400; draw++) {
      double[] shares = DirichletDraw.draw(Philox.of(11, "test", draw), 10, concentration);
      assertThat(Arrays.stream(shares).sum()).isCloseTo(1, within(1e-9));
      meanSquare += Arrays.stream(shares).map(s -> s * s).sum() / 400;
    }
    // E[sum of squares] of a symmetric Dirichlet with 10 components is (a + 1) / (10 a + 1).
    double expected = (concentration + 1) / (10 * concentration + 1);
    assertThat(meanSquare).isCloseTo(expected, within(0.12 * expected));
  }

  @Test
  void dirichletKeepsEveryRowAndTheMinimum() {
    ClientPartitioner partitioner = ClientPartitioner.dirichlet(7, 9, 0.3, 10, LABELS);
    var sizes = ClientPartitioner.sizes(partitioner, LABELS);
    assertThat(sizes.values().stream().mapToLong(Long::longValue).sum()).isEqualTo(738);
    assertThat(sizes).hasSize(9);
    assertThat(sizes.values()).allMatch(size -> size >= 10);
    assertThat(ClientPartitioner.sizes(ClientPartitioner.dirichlet(7, 9, 0.3, 10, LABELS), LABELS))
        .isEqualTo(sizes);
    assertThat(ClientPartitioner.sizes(ClientPartitioner.dirichlet(8, 9, 0.3, 10, LABELS), LABELS))
        .isNotEqualTo(sizes);
  }

  @Test
  void impossibleMinimumIsSaid() {
    assertThatThrownBy(() -> ClientPartitioner.dirichlet(7, 100, 0.1, 10, LABELS))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("738 rows")
        .hasMessageContaining("100 clients")
        .hasMessageContaining("clients.min_examples");
  }

  @Test
  void iidIsEven() {
    assertThat(ClientPartitioner.sizes(ClientPartitioner.iid(5), LABELS).values())
        .allMatch(size -> size >= 147 && size <= 148);
  }

  @Test
  void shardsGiveEachClientFewLabels() {
    long[] labels = {100, 100, 100, 100, 100, 100};
    ClientPartitioner partitioner = ClientPartitioner.shards(3, 6, 2, 600);
    var sizes = ClientPartitioner.sizes(partitioner, labels);
    assertThat(sizes.values()).allMatch(size -> size == 100);
    boolean[][] seen = new boolean[6][6];
    for (int label = 0, index = 0; label < 6; label++) {
      for (int i = 0; i < 100; i++, index++) {
        seen[partitioner.client(label, index)][label] = true;
      }
    }
    for (boolean[] client : seen) {
      int distinct = 0;
      for (boolean label : client) {
        distinct += label ? 1 : 0;
      }
      assertThat(distinct).isBetween(1, 2);
    }
  }

  @Test
  void quantitySkewDiffersInSize() {
    var sizes =
        ClientPartitioner.sizes(ClientPartitioner.quantity(1, 8, 0.5, 5, 738), new long[] {738})
            .values();
    assertThat(sizes.stream().mapToLong(Long::longValue).sum()).isEqualTo(738);
    assertThat(sizes.stream().mapToLong(Long::longValue).max().orElse(0)).isGreaterThan(150);
  }
}
