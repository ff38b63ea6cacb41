package org.sparkpeft.core.io;

import static org.assertj.core.api.Assertions.assertThat;

import com.sun.management.ThreadMXBean;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.sparkpeft.core.error.FormatException;

class SafetensorsFuzzTest {
  private static final int CASES = 1000;
  private static final long MAX_ALLOCATION = 2 << 20;

  @TempDir Path dir;

  private byte[] valid() throws IOException {
    Path file = dir.resolve("valid.safetensors");
    SafetensorsWriter.write(
        file,
        TensorData.byName(
            List.of(
                TensorData.ofFloats("layer.0.weight", List.of(3, 5), new float[15]),
                TensorData.ofFloats("layer.0.half", List.of(7), new float[7], DType.F16),
                TensorData.ofLongs("mask", List.of(3), new long[] {1, 0, 1}, DType.BOOL),
                TensorData.ofLongs("positions", List.of(2, 1), new long[] {4, 9}, DType.I64))),
        Map.of("format", "pt", "note", "fuzz"));
    return Files.readAllBytes(file);
  }

  /** Whatever the bytes: either every tensor can be read, or there is one kind of error. */
  @ParameterizedTest
  @ValueSource(longs = {1, 2, 3})
  void mutatedFilesAreReadOrRefused(long seed) throws IOException {
    byte[] valid = valid();
    Random random = new Random(seed);
    ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
    Path file = dir.resolve("mutated.safetensors");
    int refused = 0;
    for (int i = 0; i < CASES; i++) {
      byte[] bytes = Bytes.mutate(valid, random, 420);
      // A new file each time: a mapped file must not be shortened in place.
      Files.deleteIfExists(file);
      Files.write(file, bytes);
      long before = threads.getCurrentThreadAllocatedBytes();
      try {
        readAll(file);
      } catch (FormatException e) {
        refused++;
      } catch (RuntimeException | Error e) {
        throw new AssertionError("seed " + seed + " case " + i, e);
      }
      assertThat(threads.getCurrentThreadAllocatedBytes() - before)
          .as("bytes allocated, seed %d case %d", seed, i)
          .isLessThan(MAX_ALLOCATION);
    }
    assertThat(refused).isBetween(CASES / 2, CASES - 1);
  }

  private static void readAll(Path path) {
    try (SafetensorsFile file = SafetensorsFile.open(path)) {
      for (String name : file.names()) {
        TensorData tensor = file.tensor(name);
        if (tensor.dtype().isFloating()) {
          assertThat(file.floats(name)).hasSize(tensor.elements());
        } else {
          assertThat(tensor.toLongs()).hasSize(tensor.elements());
        }
      }
    }
  }
}
