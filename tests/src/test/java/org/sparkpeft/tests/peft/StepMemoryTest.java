package org.sparkpeft.tests.peft;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;
import org.sparkpeft.tests.support.RandomModels;
import org.sparkpeft.tests.support.StepMemory;

/**
 * How much memory training steps on texts of 512 tokens take, each in a process of its own whose
 * resident memory the kernel counts. The C library gives back what is freed, so that this is what
 * the tensors take.
 */
@EnabledOnOs(OS.LINUX)
class StepMemoryTest {
  private static final String TEXTS = "text-classification";
  private static final String WORDS = "text-generation";

  @TempDir static Path folder;
  private static Path bert;
  private static Path llama;

  @BeforeAll
  static void write() {
    bert = RandomModels.bert(folder.resolve("bert"), 6, 384); // as MiniLM
    llama = RandomModels.llama(folder.resolve("llama"), 6, 256, 704, 32_000);
  }

  /**
   * @param peak growth of the process in a step
   * @param said what was said beforehand
   */
  private record Megabytes(double peak, double said) {}

  private static Megabytes step(
      Path model, String task, String type, boolean checkpointing, String... more) {
    List<String> command = new ArrayList<>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    command.addAll(List.of("-Xms600m", "-Xmx600m", "-XX:+AlwaysPreTouch"));
    command.add(StepMemory.class.getName());
    command.addAll(List.of(model.toString(), task, type));
    command.addAll(List.of(Boolean.toString(checkpointing), "512", "2", "1"));
    command.addAll(List.of(more));
    ProcessBuilder builder =
        new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.DISCARD);
    builder.environment().put("CLASSPATH", System.getProperty("java.class.path"));
    builder.environment().put("MALLOC_MMAP_THRESHOLD_", Integer.toString(1 << 20));
    try {
      Process process = builder.start();
      String output =
          new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8).strip();
      assertThat(process.waitFor(5, TimeUnit.MINUTES)).isTrue();
      assertThat(process.exitValue()).as(output).isZero();
      return new Megabytes(number(output, "peak_mb"), number(output, "said_mb"));
    } catch (IOException e) {
      throw new java.io.UncheckedIOException(e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException(e);
    }
  }

  private static double number(String output, String name) {
    return Arrays.stream(output.split("\\s+"))
        .filter(field -> field.startsWith(name + "="))
        .mapToDouble(field -> Double.parseDouble(field.substring(name.length() + 1)))
        .findFirst()
        .orElseThrow(() -> new AssertionError("no " + name + " in " + output));
  }

  @Test
  void anEncoder() {
    Megabytes plain = step(bert, TEXTS, "LORA", false);
    Megabytes checkpointed = step(bert, TEXTS, "LORA", true);
    Megabytes full = step(bert, TEXTS, "FULL", false);
    Megabytes last = step(bert, TEXTS, "LORA", false, "layers_to_transform=5");
    assertThat(checkpointed.peak).as("checkpointing").isLessThan(0.5 * plain.peak);
    assertThat(plain.said).as("activations, LoRA against full").isLessThan(0.75 * full.said);
    assertThat(last.said).as("activations, last layer alone").isLessThan(0.3 * plain.said);
    assertThat(last.peak).as("peak, last layer alone").isLessThan(0.5 * plain.peak);
    // What is said is what is kept; a layer or two come on top while they are computed.
    for (Megabytes each : List.of(plain, checkpointed)) {
      assertThat(each.said).isBetween(0.55 * each.peak, 1.05 * each.peak);
    }
  }

  @Test
  void aDecoder() {
    Megabytes plain = step(llama, WORDS, "LORA", false);
    Megabytes checkpointed = step(llama, WORDS, "LORA", true);
    assertThat(checkpointed.peak).as("checkpointing").isLessThan(0.5 * plain.peak);
    double allScores = 2 * 512 * 32_000 * 4 / 1e6;
    assertThat(checkpointed.peak).as("never the scores of all words").isLessThan(allScores);
  }
}
