package org.sparkpeft.merge.compress;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class EntropyBoundTest {
  @ParameterizedTest
  @CsvSource({
    "0.001, 0.01241",
    "0.01, 0.09079",
    "0.02, 0.16144",
    "0.05, 0.33640",
    "0.1, 0.56900",
    "0.2, 0.92193",
    "0.3, 1.18129",
    "0.5, 1.5",
    "0.7, 1.58129"
  })
  void bitsForEachParameter(double density, double bits) {
    long size = 1_000_000;
    assertThat(EntropyBound.ternaryBits(size, Math.round(density * size)) / size)
        .isCloseTo(bits, within(6e-6));
  }

  @Test
  void knownCountIsWorthAFewBits() {
    assertThat(EntropyBound.enumerativeBits(1000, 50)).isCloseTo(332.28, within(5e-3));
    assertThat(EntropyBound.ternaryBits(1000, 50)).isCloseTo(336.40, within(5e-3));
    assertThat(EntropyBound.enumerativeBits(4_194_304, 209_715))
        .isCloseTo(1410939.93, within(0.01));
    assertThat(EntropyBound.ternaryBits(4_194_304, 209_715)).isCloseTo(1410950.05, within(0.01));
  }

  @Test
  void twoDensitiesBeatThePooledOne() {
    double pooled = EntropyBound.ternaryBits(2_000_000, 100_000);
    double split =
        EntropyBound.ternaryBits(1_000_000, 10_000) + EntropyBound.ternaryBits(1_000_000, 90_000);
    assertThat((pooled - split) / 2_000_000).isCloseTo(0.02777, within(1e-5));
  }

  @Test
  void nothingAndEverythingNeedNoPositions() {
    assertThat(EntropyBound.positionBits(100, 0)).isZero();
    assertThat(EntropyBound.positionBits(100, 100)).isZero();
  }
}
