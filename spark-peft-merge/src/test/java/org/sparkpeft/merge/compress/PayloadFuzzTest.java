package org.sparkpeft.merge.compress;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.fail;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.TaskVector;

/** Bytes from strangers: a payload decodes to a finite vector or is refused, nothing else. */
class PayloadFuzzTest {
  private static final long SEED = Long.getLong("fuzz.seed", 20260101);
  private static final int CASES = 120_000;
  private static final ParameterLayout LAYOUT =
      ParameterLayout.of(
          Map.of("a", List.of(40), "b", List.of(3, 7), "c", List.of(300), "d", List.of(1)));

  private static List<byte[]> seeds() {
    List<byte[]> seeds = new ArrayList<>();
    TaskVector update = Vectors.gaussian(LAYOUT, 11);
    PayloadHeader header = PayloadHeader.of(300, "client-ä", LAYOUT);
    for (String codec : CodecConfig.CODECS) {
      for (double density : new double[] {0.01, 0.1, 0.7, 1}) {
        for (String scale : List.of("mean", "sigma")) {
          CodecConfig config = new CodecConfig(codec, density, "global", scale, 1, false);
          seeds.add(Codec.of(config).encode(update, header));
        }
      }
    }
    for (String pipeline : PipelineTest.ALL) {
      seeds.add(Codec.of(Pipeline.parse(pipeline)).encode(update, header));
      if (!pipeline.startsWith("all|") && !pipeline.startsWith("randomk")) {
        byte[] masks = Codec.of(Pipeline.parse(pipeline + "|rans")).encode(update, header);
        assertThat(masks[6] & PayloadFrame.FLAG_MASKS).as(pipeline).isNotZero();
        seeds.add(masks);
      }
    }
    for (double density : new double[] {0.02, 0.3, 1}) {
      seeds.add(sections(update, header, density, new Ternary.Mean(1), Optional.empty()));
      for (PositionCoder coder :
          List.of(PositionCoder.RICE, PositionCoder.GOLOMB, PositionCoder.LIST)) {
        seeds.add(sections(update, header, density, new HalfPrecision(), Optional.of(coder)));
      }
    }
    return seeds;
  }

  /** The section form, which is rarely the shortest for a layout this small. */
  private static byte[] sections(
      TaskVector update,
      PayloadHeader header,
      double density,
      Quantiser quantiser,
      Optional<PositionCoder> only) {
    ByteSink sink = new ByteSink(64);
    new PayloadFrame(quantiser.format().id(), PayloadFrame.FLAG_SPARSE, header)
        .write(sink, PayloadFrame.VERSION);
    float[] values = update.toArray();
    Sparse kept = Sparse.gather(values, new TopK(density, false).positions(values, LAYOUT));
    List<SectionChoice> choices = SparseBody.choices(kept, LAYOUT, quantiser.format(), only);
    SparseBody.writeSections(sink, kept, LAYOUT, quantiser, choices);
    byte[] bytes = PayloadFrame.seal(sink);
    assertThat(Payload.decode(bytes, LAYOUT).statistics().kept()).isEqualTo(kept.count());
    assertThat(bytes.length - 4 - frameBytes(header))
        .isEqualTo(choices.stream().mapToInt(choice -> (int) choice.bytes()).sum());
    return bytes;
  }

  private static int frameBytes(PayloadHeader header) {
    ByteSink sink = new ByteSink(64);
    new PayloadFrame(1, 0, header).write(sink, PayloadFrame.VERSION);
    return sink.size();
  }

  @Test
  void everyMutationIsRefusedOrValid() {
    SplittableRandom random = new SplittableRandom(SEED);
    List<byte[]> seeds = seeds();
    int valid = 0;
    for (int i = 0; i < CASES; i++) {
      byte[] bytes = mutate(seeds.get(i % seeds.size()), random);
      if (random.nextInt(10) < 9) {
        // With a right checksum the damage reaches the decoders.
        reseal(bytes);
      }
      try {
        TaskVector vector = Payload.decode(bytes, LAYOUT).vector();
        assertThat(vector.isFinite()).isTrue();
        valid++;
      } catch (FormatException e) {
        assertThat(e.getMessage()).isNotEmpty();
      } catch (RuntimeException e) {
        fail("seed " + SEED + ", case " + i + ": " + Arrays.toString(bytes), e);
      }
    }
    assertThat(valid).isBetween(CASES / 100, CASES * 9 / 10);
  }

  @Test
  void everyDamagedByteIsFoundByTheChecksum() {
    for (byte[] seed : seeds()) {
      for (int i = 0; i < seed.length; i += 1 + seed.length / 50) {
        byte[] damaged = seed.clone();
        damaged[i] ^= 1;
        assertThatThrownBy(() -> Payload.decode(damaged, LAYOUT))
            .isInstanceOf(FormatException.class);
      }
    }
  }

  private static byte[] mutate(byte[] seed, SplittableRandom random) {
    byte[] bytes = seed.clone();
    switch (random.nextInt(6)) {
      case 0 -> bytes = Arrays.copyOf(bytes, random.nextInt(bytes.length + 1));
      case 1 -> bytes = Arrays.copyOf(bytes, bytes.length + 1 + random.nextInt(20));
      case 2 -> bytes[random.nextInt(Math.min(40, bytes.length))] = (byte) random.nextInt();
      default -> {
        for (int n = random.nextInt(4); n >= 0; n--) {
          bytes[random.nextInt(bytes.length)] ^= (byte) (1 << random.nextInt(8));
        }
      }
    }
    return bytes;
  }

  private static void reseal(byte[] bytes) {
    if (bytes.length >= 4) {
      int crc = ByteSource.crc(bytes, 0, bytes.length - 4);
      for (int i = 0; i < 4; i++) {
        bytes[bytes.length - 4 + i] = (byte) (crc >>> (8 * i));
      }
    }
  }
}
