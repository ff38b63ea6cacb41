package org.sparkpeft.tests.support;

import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.IntStream;
import org.sparkpeft.core.data.Examples;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.model.TokenExamples;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethods;
import org.sparkpeft.core.train.LocalPlan;
import org.sparkpeft.core.train.LocalTrainer;
import org.sparkpeft.core.train.TaskConfig;
import org.sparkpeft.core.train.TrainConfig;
import org.sparkpeft.core.train.TrainingMemory;
import org.sparkpeft.core.train.TunableModel;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * By how much a process grows in training steps, in a process of its own: {@code model task
 * peft_type checkpointing length batch steps [key=value of the method...]}. Prints {@code peak_mb},
 * by how much the resident set grows in steps that the process has done before, the median of
 * {@value #MEASUREMENTS} measurements since other threads take memory too, and {@code step_ms}, the
 * mean CPU time of a step.
 */
public final class StepMemory {
  private static final int MEASUREMENTS = 5;

  private StepMemory() {}

  public static void main(String[] args) throws IOException {
    String task = args[1];
    boolean generates = task.equals("text-generation");
    boolean checkpointing = Boolean.parseBoolean(args[3]);
    int length = Integer.parseInt(args[4]);
    int batch = Integer.parseInt(args[5]);
    int steps = Integer.parseInt(args[6]);
    Map<String, Object> fields =
        new TreeMap<>(PeftMethods.writeConfig(PeftMethods.named(args[2]).defaults()));
    if (args[2].equals("LORA") && generates) {
      fields.put("target_modules", List.of("q_proj", "v_proj"));
      fields.put("modules_to_save", List.of());
    }
    Arrays.stream(args)
        .skip(7)
        .map(setting -> setting.split("=", 2))
        .forEach(
            pair ->
                fields.put(
                    pair[0], Arrays.stream(pair[1].split(",")).map(Integer::parseInt).toList()));
    PeftConfig peft = PeftMethods.readConfig(fields);
    try (TunableModel model =
        TunableModel.load(
            ModelDirectory.open(Path.of(args[0])),
            new TaskConfig(task, generates ? List.of() : List.of("a", "b"), "auto", length),
            peft,
            ComputeDevice.cpu())) {
      ParameterVector start = model.initialParameters(1);
      TokenExamples texts = examples(generates, batch, length);
      run(model, start, texts, batch, 1, checkpointing);
      ThreadMXBean threads = ManagementFactory.getThreadMXBean();
      long began = threads.getCurrentThreadCpuTime();
      long[] growths = new long[MEASUREMENTS];
      for (int i = 0; i < MEASUREMENTS; i++) {
        System.gc(); // arrays that nothing refers to any more
        Files.writeString(Path.of("/proc/self/clear_refs"), "5"); // the peak is now what there is
        long before = resident("VmHWM");
        run(model, start, texts, batch, steps, checkpointing);
        growths[i] = resident("VmHWM") - before;
      }
      double millis =
          (threads.getCurrentThreadCpuTime() - began) / 1e6 / ((long) steps * MEASUREMENTS);
      Arrays.sort(growths);
      System.out.printf(
          Locale.ROOT,
          "peak_mb=%.1f step_ms=%.1f said_mb=%.1f%n",
          growths[MEASUREMENTS / 2] / 1e6,
          millis,
          TrainingMemory.activations(model, batch, checkpointing).orElseThrow() / 1e6);
    }
  }

  private static void run(
      TunableModel model,
      ParameterVector start,
      TokenExamples examples,
      int batch,
      int steps,
      boolean checkpointing) {
    TrainConfig training =
        TrainConfig.defaults().withBatchSize(batch).withGradientCheckpointing(checkpointing);
    int[] all = IntStream.range(0, batch).toArray();
    new LocalTrainer(model, training)
        .train(start, examples, LocalPlan.alone(1), steps, update -> List.of(all));
  }

  private static TokenExamples examples(boolean generates, int count, int length) {
    Examples.Builder builder = Examples.builder();
    for (int i = 0; i < count; i++) {
      int row = i;
      int[] text = IntStream.range(0, length).map(t -> 5 + (t * 7 + row) % 900).toArray();
      if (generates) {
        builder.addTokenClasses(text, text);
      } else {
        builder.addClass(text, i % 2);
      }
    }
    return builder.build();
  }

  /** A line of the kernel's account of this process, in bytes. */
  private static long resident(String name) throws IOException {
    return Files.readAllLines(Path.of("/proc/self/status")).stream()
        .filter(line -> line.startsWith(name + ":"))
        .mapToLong(line -> Long.parseLong(line.replaceAll("\\D", "")) * 1024)
        .findFirst()
        .orElseThrow(() -> new IOException("/proc/self/status has no " + name));
  }
}
