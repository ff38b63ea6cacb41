package org.sparkpeft.merge.adapter;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.io.AdapterDirectory;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.TaskVector;
import org.sparkpeft.merge.compress.ComPeft;
import org.sparkpeft.merge.compress.Pipeline;

class AdapterFileTest {
  private static final ObjectMapper JSON = new ObjectMapper();

  @TempDir private Path folder;

  private Path adapter(String name, long seed, double size) {
    ObjectNode config = JSON.createObjectNode().put("peft_type", "LORA").put("r", 4);
    config.putArray("target_modules").add("q");
    Philox random = Philox.of(seed, "adapter file");
    Path dir = folder.resolve(name);
    AdapterDirectory.write(
        dir,
        config,
        TensorData.byName(
            List.of(
                TensorData.ofFloats(
                    "q.lora_A.weight", List.of(4, 300), random.gaussian(1200, size)),
                TensorData.ofFloats(
                    "q.lora_B.weight", List.of(200, 4), random.child(1).gaussian(800, size)))));
    return dir;
  }

  private static float[] matrixA(Path adapter) {
    return Objects.requireNonNull(AdapterDirectory.read(adapter).tensors().get("q.lora_A.weight"))
        .toFloats();
  }

  @Test
  void fullPrecisionComesBackToTheBit() {
    Path adapter = adapter("a", 1, 1);
    Path file = folder.resolve("a.spta");
    AdapterFile.compress(adapter, Optional.empty(), Pipeline.parse("fp32"), file);
    AdapterFile.read(file).decompress(folder.resolve("b"), Optional.empty());
    AdapterDirectory before = AdapterDirectory.read(adapter);
    AdapterDirectory after = AdapterDirectory.read(folder.resolve("b"));
    assertThat(after.tensors()).isEqualTo(before.tensors());
    assertThat(after.config()).isEqualTo(before.config());
  }

  @Test
  void ternaryIsWhatComPeftMakes() throws IOException {
    Path adapter = adapter("a", 1, 1);
    Path file = folder.resolve("a.spta");
    AdapterFile made =
        AdapterFile.compress(
            adapter, Optional.empty(), Pipeline.parse("topk(0.1)|ternary(sigma, 2)"), file);
    AdapterFile read = AdapterFile.read(file);
    assertThat(read.vector()).isEqualTo(made.vector());
    assertThat(read.statistics().kept()).isEqualTo(200);
    assertThat(read.pipeline()).isEqualTo("topk(0.1)|ternary(sigma, 2)");
    assertThat(read.fileBytes()).isEqualTo(Files.size(file)).isLessThan(500);
    read.decompress(folder.resolve("b"), Optional.empty());
    float[] before = new float[2000];
    int at = 0;
    for (TensorData tensor : AdapterDirectory.read(adapter).tensors().values()) {
      System.arraycopy(tensor.toFloats(), 0, before, at, tensor.elements());
      at += tensor.elements();
    }
    TaskVector whole = TaskVector.of(read.vector().layout(), before);
    assertThat(read.vector()).isEqualTo(ComPeft.compress(whole, 0.1, 2));
  }

  @Test
  void aReferenceIsSubtractedAndAddedAgain() {
    Path start = adapter("start", 1, 1);
    Path other = adapter("other", 2, 1);
    Path adapter = adapter("a", 3, 1);
    Path file = folder.resolve("a.spta");
    AdapterFile.compress(adapter, Optional.of(start), Pipeline.parse("fp32"), file);
    AdapterFile read = AdapterFile.read(file);
    assertThat(read.reference()).hasSize(64);
    read.decompress(folder.resolve("b"), Optional.of(start));
    float[] expected = matrixA(adapter);
    float[] found = matrixA(folder.resolve("b"));
    for (int i = 0; i < expected.length; i++) {
      assertThat(found[i]).isCloseTo(expected[i], org.assertj.core.api.Assertions.within(1e-6f));
    }
    assertThatThrownBy(() -> read.decompress(folder.resolve("c"), Optional.empty()))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("--reference");
    assertThatThrownBy(() -> read.decompress(folder.resolve("c"), Optional.of(other)))
        .hasMessageContaining("another reference");
  }

  @Test
  void damageIsATypedError() throws IOException {
    Path file = folder.resolve("a.spta");
    AdapterFile.compress(
        adapter("a", 1, 1), Optional.empty(), Pipeline.parse("topk(0.1)|ternary(mean)"), file);
    byte[] good = Files.readAllBytes(file);
    SplittableRandom random = new SplittableRandom(5);
    for (int round = 0; round < 20_000; round++) {
      byte[] bad = good.clone();
      int flips = 1 + random.nextInt(3);
      for (int i = 0; i < flips; i++) {
        bad[random.nextInt(bad.length)] ^= (byte) (1 << random.nextInt(8));
      }
      if (random.nextInt(4) == 0) {
        bad = java.util.Arrays.copyOf(bad, random.nextInt(bad.length));
      }
      if (random.nextInt(2) == 0 && bad.length > 8) {
        // A forger sets the checksum right.
        java.util.zip.CRC32C crc = new java.util.zip.CRC32C();
        crc.update(bad, 0, bad.length - 4);
        java.nio.ByteBuffer.wrap(bad)
            .order(java.nio.ByteOrder.LITTLE_ENDIAN)
            .putInt(bad.length - 4, (int) crc.getValue());
      }
      byte[] bytes = bad;
      try {
        assertThat(AdapterFile.parse(bytes, "x").vector().isFinite()).isTrue();
      } catch (FormatException e) {
        assertThat(e).hasMessageContaining(":");
      }
    }
  }

  @Test
  void refusals() throws IOException {
    Path file = Files.writeString(folder.resolve("x"), "something else altogether");
    assertThatThrownBy(() -> AdapterFile.read(file))
        .isInstanceOf(FormatException.class)
        .hasMessageContaining("no compressed adapter");
    assertThatThrownBy(() -> AdapterFile.read(folder.resolve("none")))
        .isInstanceOf(DataException.class);
  }
}
