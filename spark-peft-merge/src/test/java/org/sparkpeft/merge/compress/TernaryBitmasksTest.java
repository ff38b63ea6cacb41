package org.sparkpeft.merge.compress;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

class TernaryBitmasksTest {
  private static TernaryBitmasks of(int size, float scale, int... signedPositions) {
    // Position p is p + 1, negative for a negative entry.
    int[] positions = new int[signedPositions.length];
    boolean[] negative = new boolean[signedPositions.length];
    for (int i = 0; i < positions.length; i++) {
      positions[i] = Math.abs(signedPositions[i]) - 1;
      negative[i] = signedPositions[i] < 0;
    }
    return TernaryBitmasks.of(TernarySection.of(size, positions, negative, scale));
  }

  private static TernarySection random(int size, double density, long seed, float scale) {
    float[] values = Vectors.bernoulli(size, density, seed);
    int[] positions = TopKSelection.indices(values, 0, size, size);
    boolean[] negative = new boolean[positions.length];
    for (int i = 0; i < negative.length; i++) {
      negative[i] = values[positions[i]] < 0;
    }
    return TernarySection.of(size, positions, negative, scale);
  }

  @Test
  void workedExample() {
    TernaryBitmasks x = of(64, 0.25f, 4, -18, 19, 41, -62);
    TernaryBitmasks y = of(64, 2, 4, 18, -41, 51, -62);
    assertThat(x.agreement(y)).isZero();
    assertThat(x.disagreement(y)).isEqualTo(2);
    assertThat(x.dot(y)).isZero();
    assertThat(x.dot(x)).isEqualTo(5 * 0.0625);
    assertThat(x.norm()).isCloseTo(Math.sqrt(5) * 0.25, within(1e-12));
    assertThat(x.cosine(x.negate())).isCloseTo(-1, within(1e-12));
  }

  @Test
  void algebraEqualsTheDenseAlgebra() {
    for (int size : new int[] {1, 63, 64, 65, 1000, 4097}) {
      TernarySection a = random(size, 0.3, 1, 0.5f);
      TernarySection b = random(size, 0.6, 2, -0.25f);
      TernaryBitmasks x = TernaryBitmasks.of(a);
      TernaryBitmasks y = TernaryBitmasks.of(b);
      float[] dense = b.toDense();
      double dot = 0;
      double[] sum = new double[size];
      for (int i = 0; i < size; i++) {
        dot += (double) a.toDense()[i] * dense[i];
        sum[i] = 3 * a.toDense()[i] + dense[i];
      }
      assertThat(x.toSection()).isEqualTo(a);
      assertThat(x.dot(y)).isEqualTo(dot);
      assertThat(x.dot(dense)).isEqualTo(dot);
      double[] added = new double[size];
      x.addTo(added, 3);
      y.addTo(added, 1);
      assertThat(added).isEqualTo(sum);
    }
  }

  @Test
  void majorityOfSigns() {
    // Signs of [.3,-.2,0,.5], [-.1,-.4,.2,.1], [.2,.3,-.6,-.9].
    List<TernaryBitmasks> votes =
        List.of(of(4, 1, 1, -2, 4), of(4, 1, -1, -2, 3, 4), of(4, 1, 1, 2, -3, -4));
    assertThat(TernaryBitmasks.majority(votes).toSection().toDense()).containsExactly(1, -1, 0, 1);
  }

  @Test
  void majorityOfManyEqualsCounting() {
    int size = 130;
    List<TernaryBitmasks> vectors = new ArrayList<>();
    int[] count = new int[size];
    for (int t = 0; t < 37; t++) {
      TernarySection section = random(size, 0.5, t, t % 3 == 0 ? -2 : 0.5f);
      vectors.add(TernaryBitmasks.of(section));
      float[] dense = section.toDense();
      for (int i = 0; i < size; i++) {
        count[i] += (int) Math.signum(dense[i]);
      }
    }
    float[] majority = TernaryBitmasks.majority(vectors).toSection().toDense();
    for (int i = 0; i < size; i++) {
      assertThat(majority[i]).isEqualTo(Math.signum(count[i]));
    }
  }

  @Test
  void tiesIsTheWeightedMeanOfTheHeavierSide() {
    float[] merged =
        TernaryBitmasks.ties(
            List.of(of(4, 1, 1, -2, 4), of(4, 2, -1, -2), of(4, -3, -1, 2, -4)),
            new double[] {3, 1, 1});
    // Entry 0: 3*1 + 1*3 against 1*-2; entry 1: all negative, entry 3: both positive.
    assertThat(merged).containsExactly(6 / 4f, -8 / 5f, 0, 6 / 4f);
    assertThatThrownBy(() -> TernaryBitmasks.ties(List.of(of(4, 1), of(5, 1)), new double[] {1, 1}))
        .hasMessageContaining("sizes differ: 4 and 5");
  }
}
