package org.sparkpeft.merge.compress;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.Arrays;
import java.util.HashMap;
import java.util.HexFormat;
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
  private static final int MASKS = PayloadFrame.FLAG_SPARSE | PayloadFrame.FLAG_MASKS;
  private static final int STREAM = PayloadFrame.FLAG_SPARSE | PayloadFrame.FLAG_STREAM;

  /** A tensor of some size and the positions it keeps, from 0. */
  @SuppressWarnings("ArrayRecordComponent") // Never compared.
  private record Mask(int size, int... kept) {}

  private static Mask random(int size, double density, long seed) {
    SplittableRandom random = new SplittableRandom(seed);
    return new Mask(
        size, IntStream.range(0, size).filter(i -> random.nextDouble() < density).toArray());
  }

  private static byte[] encoded(Mask... masks) {
    MaskRans.Encoder encoder = new MaskRans.Encoder(0);
    for (int i = masks.length - 1; i >= 0; i--) {
      // Bases and ranges other than 0 as among the positions of a vector.
      int base = 13 * i;
      int[] positions = new int[masks[i].kept.length + 2];
      for (int j = 0; j < masks[i].kept.length; j++) {
        positions[j + 1] = base + masks[i].kept[j];
      }
      encoder.prepend(positions, 1, positions.length - 1, base, masks[i].size);
    }
    ByteSink sink = new ByteSink(16);
    encoder.write(sink);
    assertThat((long) sink.size()).isEqualTo(encoder.bytes());
    return sink.toArray();
  }

  private static void decode(byte[] bytes, Mask... masks) {
    ByteSource source = new ByteSource("masks", bytes, 0, bytes.length);
    MaskRans.Decoder decoder = new MaskRans.Decoder(source);
    for (int i = 0; i < masks.length; i++) {
      int[] read = new int[masks[i].kept.length];
      decoder.read(read, read.length, 13 * i, masks[i].size);
      for (int j = 0; j < read.length; j++) {
        read[j] -= 13 * i;
      }
      assertThat(read).isEqualTo(masks[i].kept);
    }
    decoder.finish();
  }

  /** Bytes of a second implementation in exact integers, written from the description. */
  @Test
  void workedExampleByteForByte() {
    Mask[] masks = {
      new Mask(21, 0, 4, 20),
      new Mask(5),
      new Mask(3, 0, 1, 2),
      new Mask(64, 3, 17, 18, 40, 61),
      new Mask(40, IntStream.range(0, 40).filter(i -> i % 3 != 0).toArray())
    };
    assertThat(HexFormat.ofDelimiter(" ").formatHex(encoded(masks)))
        .isEqualTo("5e da 5f 7d 9c 03 00 00 78 98 bc e8 b5 7e 2a 40");
    decode(encoded(masks), masks);
  }

  @ParameterizedTest
  @ValueSource(doubles = {0, 0.0001, 0.02, 0.05, 0.3, 0.5, 0.6, 0.97, 1})
  void whatIsWrittenIsRead(double density) {
    Mask[] masks =
        IntStream.of(1, 7, 8, 9, 1000, 65_539)
            .mapToObj(size -> random(size, density, size))
            .toArray(Mask[]::new);
    decode(encoded(masks), masks);
    for (Mask mask : masks) {
      decode(encoded(mask), mask);
    }
  }

  @Test
  void unlikelyMasksAreReadToo() {
    Mask run = new Mask(100_000, IntStream.range(500, 900).toArray());
    Mask end = new Mask(1001, IntStream.range(1, 1001).toArray());
    Mask last = new Mask(1 << 20, (1 << 20) - 1);
    decode(encoded(run, end, last), run, end, last);
  }

  @ParameterizedTest
  @ValueSource(doubles = {0.001, 0.003, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9, 0.99})
  void isWithinAThirdOfAPercentOfTheEntropy(double density) {
    Mask mask = random(1 << 22, density, 3);
    double bits = 8.0 * encoded(mask).length;
    assertThat(bits / EntropyBound.positionBits(mask.size, mask.kept.length))
        .isBetween(0.998, 1.003);
  }

  private static Payload through(String pipeline, TaskVector update, int flags) {
    PayloadHeader header = PayloadHeader.of(1, "c", update.layout());
    byte[] bytes = Codec.of(Pipeline.parse(pipeline)).encode(update, header);
    ByteSource source = PayloadFrame.open("payload", bytes);
    assertThat(PayloadFrame.read(source).flags()).as(pipeline).isEqualTo(flags);
    return Payload.decode(bytes, update.layout());
  }

  @Test
  void manySmallTensorsAreWithinHalfAPercentOfTheirBound() {
    Map<String, List<Integer>> shapes = new HashMap<>();
    for (int i = 0; i < 30; i++) {
      shapes.put("a" + i, List.of(16, 1024));
      shapes.put("b" + i, List.of(1024, 16));
    }
    TaskVector update = Vectors.gaussian(ParameterLayout.of(shapes), 9);
    Payload payload = through("topk(0.05)|ternary(mean)", update, MASKS);
    assertThat(payload.statistics().overhead()).isLessThan(0.005);
    assertThat(through("topk(0.05)|ternary(mean)|range", update, STREAM).vector())
        .isEqualTo(payload.vector());
    assertThat(through("topk(0.05)|ternary(mean)|rans", update, MASKS)).isEqualTo(payload);
  }

  @ParameterizedTest
  @ValueSource(doubles = {0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.38, 0.5})
  void largeVectorsAreWithinOnePercent(double density) {
    TaskVector update = Vectors.gaussian(ParameterLayout.of(Map.of("w", List.of(1024, 1025))), 5);
    String pipeline = "topk(" + density + ")|ternary(mean)";
    Payload payload = through(pipeline, update, density < 0.5 ? MASKS : PayloadFrame.FLAG_SPARSE);
    assertThat(payload.statistics().overhead()).isLessThan(density < 0.05 ? 0.006 : 0.001);
    assertThat(through(pipeline + "|range", update, STREAM).vector()).isEqualTo(payload.vector());
  }

  @Test
  void rowsOfDifferentDensityStillGoAsAStream() {
    ParameterLayout layout = ParameterLayout.of(Map.of("w", List.of(8, 1 << 18)));
    float[] values = Vectors.gaussian(layout, 5).toArray();
    for (int i = 0; i < values.length; i++) {
      values[i] *= i < values.length / 2 ? 3 : 1;
    }
    through("topk(0.05)|ternary(mean)", TaskVector.wrap(layout, values), STREAM);
  }

  @Test
  void damageIsRefusedOrGivesAsManyEntries() {
    Mask[] masks = {random(4000, 0.2, 9), random(77, 0.4, 2), random(4000, 0.6, 3)};
    byte[] good = encoded(masks);
    int refused = 0;
    for (int bit = 0; bit < 8 * good.length; bit++) {
      byte[] bad = good.clone();
      bad[bit / 8] ^= (byte) (1 << bit % 8);
      try {
        read(bad, masks);
      } catch (FormatException e) {
        refused++;
      }
    }
    // Short codes are other masks of as many entries once damaged: the checksum finds the rest.
    assertThat(refused).isGreaterThan(8 * good.length / 3);
    assertThatThrownBy(() -> read(Arrays.copyOf(good, good.length - 1), masks))
        .isInstanceOf(FormatException.class)
        .hasMessageContaining("cut short");
    assertThatThrownBy(() -> read(Arrays.copyOf(good, good.length + 4), masks))
        .isInstanceOf(FormatException.class)
        .hasMessageContaining("left over");
    assertThatThrownBy(() -> read(new byte[8], masks))
        .isInstanceOf(FormatException.class)
        .hasMessageContaining("state");
  }

  private static void read(byte[] bytes, Mask... masks) {
    ByteSource source = new ByteSource("masks", bytes, 0, bytes.length);
    MaskRans.Decoder decoder = new MaskRans.Decoder(source);
    int[] into = new int[4000];
    for (Mask mask : masks) {
      decoder.read(into, mask.kept.length, 0, mask.size);
      int previous = -1;
      for (int i = 0; i < mask.kept.length; i++) {
        assertThat(into[i]).isBetween(previous + 1, mask.size - 1);
        previous = into[i];
      }
    }
    decoder.finish();
  }

  @Test
  void entriesPastTheEndAreRefused() {
    // The last symbol of 12 entries has its 4 past the end kept, as it may of 16.
    byte[] bytes = encoded(new Mask(16, 1, 12));
    assertThatThrownBy(() -> read(bytes, new Mask(12, 1, 2)))
        .isInstanceOf(FormatException.class)
        .hasMessageContaining("past its end");
  }

  @Test
  void masksGoWithNoOtherForm() {
    TaskVector update = Vectors.gaussian(Vectors.single(500), 4);
    byte[] good =
        Codec.of(Pipeline.parse("topk(0.2)|ternary(mean)|rans"))
            .encode(update, PayloadHeader.of(1, "c", update.layout()));
    assertRefused(good, update, 4, 1, "has flags 17, unknown in version 1");
    assertRefused(good, update, 6, MASKS | 32, "has flags 49, unknown in version 2");
    assertRefused(good, update, 6, MASKS | STREAM, "a form of the sparse body");
    assertRefused(good, update, 6, PayloadFrame.FLAG_MASKS, "a form of the sparse body");
  }

  private static void assertRefused(
      byte[] good, TaskVector update, int at, int value, String message) {
    ByteSink sink = new ByteSink(good.length);
    byte[] bad = Arrays.copyOf(good, good.length - 4);
    bad[at] = (byte) value;
    sink.raw(bad);
    byte[] sealed = PayloadFrame.seal(sink);
    assertThatThrownBy(() -> Payload.decode(sealed, update.layout()))
        .isInstanceOf(FormatException.class)
        .hasMessageContaining(message);
  }
}
