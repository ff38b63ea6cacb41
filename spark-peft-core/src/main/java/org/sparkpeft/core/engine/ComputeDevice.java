package org.sparkpeft.core.engine;

import ai.djl.Device;
import ai.djl.engine.EngineException;
import ai.djl.ndarray.NDManager;
import ai.djl.pytorch.jni.JniUtils;
import java.io.Serializable;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.sparkpeft.core.error.ConfigException;

/**
 * Where tensors live and how many threads one task's arithmetic may use. With one math thread the
 * same training gives the same bits on every run. So it does with more where {@link Cores} divide
 * the work; where the engine divides single operations, sums may be split differently from run to
 * run.
 *
 * @param address {@code cpu} or {@code cuda:N}
 * @param mathThreads threads for the operations of one task, 1..1024
 */
public record ComputeDevice(String address, int mathThreads) implements Serializable {
  private static final Pattern CUDA = Pattern.compile("cuda:(\\d{1,4})");

  public ComputeDevice {
    if (!address.equals("cpu") && !CUDA.matcher(address).matches()) {
      throw new ConfigException(
          "device", "must be cpu or cuda:N with the number of a GPU, got " + address);
    }
    if (mathThreads < 1 || mathThreads > 1024) {
      throw new ConfigException(
          "math_threads", "must be 1..1024; 1 makes runs repeatable, got " + mathThreads);
    }
  }

  /** The processor, with one math thread. */
  public static ComputeDevice cpu() {
    return new ComputeDevice("cpu", 1);
  }

  /** A new root of native memory on this device; closing it frees everything made under it. */
  public NDManager newManager() {
    TorchEngine.start();
    return NDManager.newBaseManager(djlDevice(), TorchEngine.NAME);
  }

  /**
   * Prepares the calling thread for this device's work. The engine keeps the number of math threads
   * for each thread, so every task calls this first.
   */
  public void bindThread() {
    TorchEngine.start();
    JniUtils.setNumThreads(mathThreads);
  }

  /** Whether this is a GPU. */
  public boolean isGpu() {
    return !address.equals("cpu");
  }

  /**
   * Why this JVM cannot compute here, found by putting one number on the device; empty if it can.
   * Says what was loaded and what to do.
   *
   * @throws ConfigException if the engine does not load at all
   */
  public Optional<String> problem() {
    return NativeLibraries.loaded().problem(this).or(this::trial);
  }

  private Optional<String> trial() {
    try (NDManager manager = newManager()) {
      manager.create(1f);
      return Optional.empty();
    } catch (EngineException e) {
      String said = e.getMessage() == null ? "" : e.getMessage();
      return Optional.of(
          address
              + " does not take a tensor ("
              + said.lines().findFirst().orElse("no reason given")
              + "); devices count from 0 as CUDA shows them to this process, so check"
              + " CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER there");
    }
  }

  private Device djlDevice() {
    Matcher cuda = CUDA.matcher(address);
    return cuda.matches() ? Device.gpu(Integer.parseInt(cuda.group(1))) : Device.cpu();
  }
}
