package org.sparkpeft.merge.compress;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.TaskVector;

class MaskRansTest {

  private static int[] positions(int base, int size, double density, long seed) {
    SplittableRandom random = new SplittableRandom(seed);
    return IntStream.range(base, base + size).filter(i -> random.nextDouble() < density).toArray();
  }

  private static int[] decoded(byte[] bytes, int count, int base, int size) {
    ByteSource source = new ByteSource("mask", bytes, 0, bytes.length);
    int[] read = MaskRans.read(source, count, base, size);
    source.requireEnd();
    return read;
  }

  @ParameterizedTest
  @ValueSource(doubles = {0.0001, 0.02, 0.05, 0.3, 0.5, 0.6, 0.97, 1})
  void whatIsWrittenIsRead(double density) {
    for (int size : new int[] {1, 7, 8, 9, 1000, 65_539}) {
      for (int base : new int[] {0, 13}) {
        int[] kept = positions(base, size, density, size);
        byte[] bytes = MaskRans.encode(kept, 0, kept.length, base, size);
        assertThat(decoded(bytes, kept.length, base, size)).isEqualTo(kept);
      }
    }
    // The worst there is: all kept entries in one place.
    int[] run = IntStream.range(500, 900).toArray();
    byte[] bytes = MaskRans.encode(run, 0, run.length, 0, 100_000);
    assertThat(decoded(bytes, run.length, 0, 100_000)).isEqualTo(run);
  }

  @ParameterizedTest
  @ValueSource(doubles = {0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9})
  void isWithinHalfAPercentOfTheEntropy(double density) {
    int size = 1 << 20;
    int[] kept = positions(0, size, density, 3);
    double bits = 8.0 * MaskRans.encode(kept, 0, kept.length, 0, size).length + kept.length;
    assertThat(bits / EntropyBound.ternaryBits(size, kept.length)).isBetween(0.999, 1.005);
  }

  /**
   * Whatever is kept, a large vector's payload is near the bound and a small one's the shortest.
   */
  @ParameterizedTest
  @ValueSource(doubles = {0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.38, 0.5})
  void largeVectorsGoInSectionsWithinOnePercent(double density) {
    ParameterLayout layout = ParameterLayout.of(Map.of("w", List.of(1024, 1025)));
    TaskVector update = Vectors.gaussian(layout, 5);
    Codec codec = Codec.of(Pipeline.parse("topk(" + density + ")|ternary(mean)"));
    byte[] bytes = codec.encode(update, PayloadHeader.of(1, "c", layout));
    Payload payload = Payload.decode(bytes, layout);
    assertThat(payload.statistics().overhead()).isLessThan(0.01);
    ByteSource source = PayloadFrame.open("payload", bytes);
    assertThat(PayloadFrame.read(source).has(PayloadFrame.FLAG_STREAM)).isFalse();
    // The same update as a stream is the same vector.
    Codec stream = Codec.of(Pipeline.parse("topk(" + density + ")|ternary(mean)|range"));
    byte[] other = stream.encode(update, PayloadHeader.of(1, "c", layout));
    assertThat(Payload.decode(other, layout).vector()).isEqualTo(payload.vector());
  }

  @Test
  void rowsOfDifferentDensityStillGoAsAStream() {
    ParameterLayout layout = ParameterLayout.of(Map.of("w", List.of(8, 1 << 18)));
    float[] values = Vectors.gaussian(layout, 5).toArray();
    for (int i = 0; i < values.length; i++) {
      values[i] *= i < values.length / 2 ? 3 : 1;
    }
    Codec codec = Codec.of(Pipeline.parse("topk(0.05)|ternary(mean)"));
    byte[] bytes = codec.encode(TaskVector.wrap(layout, values), PayloadHeader.of(1, "c", layout));
    ByteSource source = PayloadFrame.open("payload", bytes);
    assertThat(PayloadFrame.read(source).has(PayloadFrame.FLAG_STREAM)).isTrue();
  }

  @Test
  void damageIsRefused() {
    int size = 4000;
    int[] kept = positions(0, size, 0.2, 9);
    byte[] good = MaskRans.encode(kept, 0, kept.length, 0, size);
    for (int i = 0; i < good.length; i++) {
      byte[] bad = good.clone();
      bad[i] ^= 4;
      assertThatThrownBy(() -> decoded(bad, kept.length, 0, size))
          .isInstanceOf(FormatException.class);
    }
    byte[] cut = java.util.Arrays.copyOf(good, good.length - 1);
    assertThatThrownBy(() -> decoded(cut, kept.length, 0, size))
        .isInstanceOf(FormatException.class)
        .hasMessageContaining("cut short");
  }
}
