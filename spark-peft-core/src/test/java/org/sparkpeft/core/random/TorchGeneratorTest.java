package org.sparkpeft.core.random;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.Arrays;
import org.junit.jupiter.api.Test;

class TorchGeneratorTest {
  /** The C++ standard's check of mt19937: its 10,000th number. */
  @Test
  void isTheMersenneTwister() {
    TorchGenerator random = new TorchGenerator(5489);
    assertThat(random.nextInt() & 0xFFFFFFFFL).isEqualTo(3499211612L);
    for (int i = 2; i < 10_000; i++) {
      random.nextInt();
    }
    assertThat(random.nextInt() & 0xFFFFFFFFL).isEqualTo(4123659995L);
  }

  /** The first places that FourierFT has for seed 777 in a weight of 384 x 384. */
  @Test
  void drawsPyTorchsPermutation() {
    assertThat(new TorchGenerator(777).permutation(384 * 384, 6))
        .containsExactly(
            250 * 384 + 359,
            131 * 384 + 61,
            343 * 384 + 137,
            266 * 384 + 299,
            380 * 384 + 147,
            337 * 384 + 42);
  }

  @Test
  void wholePermutationHasEveryNumber() {
    for (int n : new int[] {1, 2, 3, 700}) {
      int[] all = new TorchGenerator(3).permutation(n, n);
      Arrays.sort(all);
      for (int i = 0; i < n; i++) {
        assertThat(all[i]).isEqualTo(i);
      }
    }
    assertThatThrownBy(() -> new TorchGenerator(3).permutation(3, 4))
        .isInstanceOf(IllegalArgumentException.class);
  }
}
