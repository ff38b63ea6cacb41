package org.sparkpeft.tests.support;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.TimeUnit;
import org.apache.spark.TaskContext;
import org.apache.spark.api.plugin.DriverPlugin;
import org.apache.spark.api.plugin.ExecutorPlugin;
import org.apache.spark.api.plugin.PluginContext;
import org.apache.spark.api.plugin.SparkPlugin;
import org.apache.spark.resource.ResourceInformation;
import org.jspecify.annotations.Nullable;
import org.sparkpeft.core.engine.NativeLibraries;
import org.sparkpeft.federated.client.TaskDevice;

/**
 * A Spark plugin that writes down, for each task of executors 0 and 1, what it was given: a file
 * {@code task-ID} with executor, addresses of GPUs, device of this project, and folder of PyTorch's
 * libraries. Tasks wait until both executors are there.
 */
public final class DeviceWitness implements SparkPlugin {
  /** Setting with the folder of the files. */
  public static final String FOLDER = "spark.sparkpeft.witness";

  @Override
  public @Nullable DriverPlugin driverPlugin() {
    return null;
  }

  @Override
  public ExecutorPlugin executorPlugin() {
    return new OnExecutor();
  }

  private static final class OnExecutor implements ExecutorPlugin {
    private Path folder = Path.of("");
    private String executor = "";

    @Override
    public void init(PluginContext context, Map<String, String> extra) {
      folder = Path.of(context.conf().get(FOLDER));
      executor = context.executorID();
      write("executor-" + executor, "");
    }

    @Override
    public void onTaskStart() {
      awaitBoth();
      TaskContext task = TaskContext.get();
      ResourceInformation gpu = Objects.requireNonNull(task.resourcesJMap().get("gpu"));
      write(
          "task-" + task.taskAttemptId(),
          String.join(
              " ",
              executor,
              String.join(",", gpu.addresses()),
              TaskDevice.current(1).address(),
              NativeLibraries.loaded().folder()));
    }

    private void awaitBoth() {
      long deadline = System.nanoTime() + TimeUnit.MINUTES.toNanos(1);
      while (!Files.exists(folder.resolve("executor-0"))
          || !Files.exists(folder.resolve("executor-1"))) {
        if (System.nanoTime() > deadline) {
          throw new IllegalStateException("the other executor does not come");
        }
        try {
          TimeUnit.MILLISECONDS.sleep(20);
        } catch (InterruptedException e) {
          Thread.currentThread().interrupt();
          throw new IllegalStateException(e);
        }
      }
    }

    private void write(String file, String text) {
      try {
        Files.writeString(folder.resolve(file), text, StandardCharsets.UTF_8);
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
    }
  }
}
