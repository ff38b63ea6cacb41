package org.sparkpeft.federated.client;

import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.regex.Pattern;
import org.apache.spark.SparkEnv;
import org.apache.spark.TaskContext;
import org.apache.spark.resource.ResourceInformation;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.engine.NativeLibraries;
import org.sparkpeft.core.error.ConfigException;

/**
 * Which device a Spark task computes on: the GPU that Spark's resource scheduling assigned to it,
 * else the processor. Tasks that Spark gives the same address, as with {@code
 * spark.task.resource.gpu.amount} below 1, share the GPU and the base model on it.
 */
public final class TaskDevice {
  /** The setting that makes Spark assign GPUs to tasks; blamed where an assigned one is no use. */
  static final String SETTING = "spark.task.resource.gpu.amount";

  private static final String RESOURCE = "gpu";
  private static final Pattern INDEX = Pattern.compile("\\d{1,4}");
  private static final Logger LOG = LoggerFactory.getLogger(TaskDevice.class);
  private static final AtomicBoolean TOLD = new AtomicBoolean();

  private TaskDevice() {}

  /**
   * The device of the calling task; the processor outside of tasks, as on the driver.
   *
   * @param mathThreads threads for the operations of one task
   * @throws ConfigException if the address that Spark assigned is not the number of a GPU
   */
  public static ComputeDevice current(int mathThreads) {
    TaskContext task = TaskContext.get();
    if (task == null) {
      return of(List.of(), mathThreads);
    }
    ResourceInformation gpu = task.resourcesJMap().get(RESOURCE);
    List<String> addresses = gpu == null ? List.of() : List.of(gpu.addresses());
    ComputeDevice device = of(addresses, mathThreads);
    if (addresses.size() > 1 && TOLD.compareAndSet(false, true)) {
      LOG.warn(
          "{}: a task trains on one GPU; of {} it uses {} and leaves the others idle; set it to 1"
              + " or less",
          SETTING,
          addresses,
          addresses.get(0));
    }
    if (addresses.isEmpty() && executorHasGpu() && TOLD.compareAndSet(false, true)) {
      LOG.warn("{} is not set, so tasks leave this executor's GPU idle", SETTING);
    }
    return device;
  }

  private static boolean executorHasGpu() {
    return !SparkEnv.get().conf().get("spark.executor.resource.gpu.amount", "0").equals("0");
  }

  /**
   * The device for the addresses of one task: the first where there are several, the processor
   * where there is none.
   *
   * @param addresses as a discovery script prints them; must be numbers of GPUs, not UUIDs
   * @throws ConfigException for an address that is not a number
   */
  static ComputeDevice of(List<String> addresses, int mathThreads) {
    if (addresses.isEmpty()) {
      return new ComputeDevice("cpu", mathThreads);
    }
    String address = addresses.get(0);
    if (!INDEX.matcher(address).matches()) {
      throw new ConfigException(
          "spark.executor.resource.gpu.discoveryScript",
          "GPUs must have the numbers that nvidia-smi --query-gpu=index prints, got \""
              + address
              + "\"; use conf/gpu-discovery.sh. MIG slices have no numbers: let the cluster manager"
              + " show each executor its own alone, where it is 0");
    }
    return new ComputeDevice("cuda:" + Integer.parseInt(address), mathThreads);
  }

  /**
   * Refuses the device of the calling task if this JVM cannot compute there, before native code
   * meets it.
   *
   * @throws ConfigException if Spark assigned a GPU that the engine's libraries cannot use
   */
  static void require(ComputeDevice device) {
    if (device.isGpu()) {
      device
          .problem()
          .ifPresent(
              problem -> {
                throw new ConfigException(
                    SETTING,
                    "Spark gave the GPU "
                        + device.address()
                        + " to a task on executor "
                        + SparkEnv.get().executorId()
                        + ", but "
                        + problem
                        + "; or take "
                        + SETTING
                        + " away to train on the processor");
              });
      LOG.info(
          "executor {} computes on {} with PyTorch's libraries from {}",
          SparkEnv.get().executorId(),
          device.address(),
          NativeLibraries.loaded().folder());
    }
  }
}
