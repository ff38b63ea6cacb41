package org.sparkpeft.merge.compress;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.HexFormat;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.sparkpeft.core.error.FormatException;

class TernarySectionTest {
  private static final TernarySection EXAMPLE =
      TernarySection.of(
          64,
          new int[] {3, 17, 18, 40, 61},
          new boolean[] {false, true, false, false, true},
          0.25f);

  @Test
  void workedExampleByteForByte() {
    byte[] bytes = EXAMPLE.encode(PositionCoder.RICE);
    assertThat(HexFormat.ofDelimiter(" ").formatHex(bytes))
        .isEqualTo("01 03 40 05 00 00 80 3e 04 56 61 1d 01 12");
    assertThat(Integer.toHexString(ByteSource.crc(bytes, 0, bytes.length))).isEqualTo("d295e7ec");
    assertThat(TernarySection.decode(bytes, 64)).isEqualTo(EXAMPLE);
  }

  @Test
  void smallestGapsInUnary() {
    int[] positions = {0, 2, 3, 7};
    assertThat(RiceCode.bestParameter(positions, 0, 4, 0, 8)).isZero();
    ByteSink sink = new ByteSink(8);
    RiceCode.write(sink, positions, 0, 4, 0, 0);
    sink.align();
    // 0 | 10 | 0 | 1110, first bit lowest.
    assertThat(sink.toArray()).containsExactly(0b01110010);
  }

  @Test
  void twoBitmasksOfTheWorkedExample() {
    String hex = HexFormat.ofDelimiter(" ").formatHex(EXAMPLE.encode(PositionCoder.BITMASK));
    assertThat(hex)
        .endsWith("08 00 04 00 00 01 00 00 00 00 02 00 00 00 00 20")
        .startsWith("02 00 40 05 00 00 80 3e");
  }

  @Test
  void fiveTernaryDigitsMakeAByte() {
    TernarySection section =
        TernarySection.of(5, new int[] {0, 2, 3}, new boolean[] {false, false, true}, 1);
    byte[] bytes = section.encode(PositionCoder.TERNARY_DIGITS);
    assertThat(bytes[bytes.length - 1]).isEqualTo((byte) 104);
    bytes[bytes.length - 1] = (byte) 243;
    assertThatThrownBy(() -> TernarySection.decode(bytes, 5)).isInstanceOf(FormatException.class);
  }

  @Test
  void checksumIsCrc32c() {
    byte[] digits = "123456789".getBytes(java.nio.charset.StandardCharsets.US_ASCII);
    assertThat(Integer.toHexString(ByteSource.crc(digits, 0, 9))).isEqualTo("e3069283");
  }

  @ParameterizedTest
  @CsvSource({
    "0.001, 9, 11.4947",
    "0.01, 6, 8.1079",
    "0.02, 5, 7.1003",
    "0.05, 4, 5.7861",
    "0.1, 3, 4.7558",
    "0.2, 2, 3.6938",
    "0.3, 1, 2.9608",
    "0.5, 0, 2.0",
    "0.7, 0, 1.4286",
    "0.078125, 3, 4.8"
  })
  void riceParameterAndCost(double density, int parameter, double bits) {
    assertThat(RiceCode.parameterFor(density)).isEqualTo(parameter);
    if (density != 0.078125) {
      assertThat(RiceCode.expectedBits(density, parameter)).isCloseTo(bits, within(5e-5));
    }
  }

  @ParameterizedTest
  @EnumSource(
      value = PositionCoder.class,
      mode = EnumSource.Mode.EXCLUDE,
      names = {"GOLOMB", "RANS"})
  void everyCoderRoundTrips(PositionCoder coder) {
    if (coder == PositionCoder.EMPTY) {
      TernarySection empty = TernarySection.of(9, new int[0], new boolean[0], 0);
      assertThat(TernarySection.decode(empty.encode(), 9)).isEqualTo(empty);
      return;
    }
    for (int size : new int[] {1, 2, 63, 64, 65, 1000}) {
      for (double density : new double[] {0.01, 0.1, 0.5, 1}) {
        TernarySection section = random(size, density);
        if (section.count() > 0) {
          assertThat(TernarySection.decode(section.encode(coder), size))
              .as("%s, %d entries, density %s", coder, size, density)
              .isEqualTo(section);
        }
      }
    }
  }

  private static TernarySection random(int size, double density) {
    float[] values = Vectors.bernoulli(size, density, size);
    int[] positions = TopKSelection.indices(values, 0, size, size);
    boolean[] negative = new boolean[positions.length];
    for (int i = 0; i < negative.length; i++) {
      negative[i] = values[positions[i]] < 0;
    }
    return TernarySection.of(size, positions, negative, 0.5f);
  }

  @Test
  void fileHoldsSectionsAndFindsDamage() {
    List<TernarySection> sections = List.of(EXAMPLE, random(1000, 0.05), random(65, 0.9));
    byte[] bytes = TernaryFile.encode(sections);
    assertThat(new String(bytes, 0, 4, java.nio.charset.StandardCharsets.US_ASCII))
        .isEqualTo("SPT1");
    assertThat(TernaryFile.decode(bytes, 1129)).isEqualTo(sections);
    assertThatThrownBy(() -> TernaryFile.decode(bytes, 1128))
        .isInstanceOf(FormatException.class)
        .hasMessageContaining("size must be 0..64");
    for (int i = 0; i < bytes.length; i++) {
      byte[] damaged = bytes.clone();
      damaged[i] ^= 0x10;
      assertThatThrownBy(() -> TernaryFile.decode(damaged, 1129))
          .as("byte %d", i)
          .isInstanceOf(FormatException.class);
    }
  }
}
