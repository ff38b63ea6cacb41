package org.sparkpeft.core.engine;

import ai.djl.engine.EngineException;
import ai.djl.pytorch.jni.JniUtils;
import ai.djl.pytorch.jni.LibUtils;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import org.sparkpeft.core.error.ConfigException;

/**
 * PyTorch's native libraries of this JVM. DJL takes them from {@code PYTORCH_LIBRARY_PATH}, else
 * from a jar on the class path, else downloads those that fit the machine or {@code
 * PYTORCH_FLAVOR}.
 *
 * @param folder where they were loaded from
 * @param cuda whether they are the build for NVIDIA GPUs, else that for the processor
 * @param seesGpu whether a GPU is visible to them in this process
 */
public record NativeLibraries(String folder, boolean cuda, boolean seesGpu) {
  private static final String BUNDLED = "native/lib/pytorch.properties";

  /**
   * Those of this JVM, loaded now if they were not yet.
   *
   * @throws ConfigException if there are none
   */
  public static NativeLibraries loaded() {
    TorchEngine.start();
    String folder = LibUtils.getLibtorchPath();
    boolean cuda = Files.exists(Path.of(folder, System.mapLibraryName("torch_cuda")));
    return new NativeLibraries(folder, cuda, JniUtils.getFeatures().contains("CUDA"));
  }

  /**
   * Why they cannot compute on a device; empty if they can, as far as is known without trying, see
   * {@link ComputeDevice#problem}.
   */
  Optional<String> problem(ComputeDevice device) {
    if (!device.isGpu()) {
      return Optional.empty();
    }
    if (!cuda) {
      return Optional.of(
          "PyTorch's libraries loaded from "
              + folder
              + " compute on the processor alone; build with mvn -Pgpu, or set"
              + " PYTORCH_LIBRARY_PATH and PYTORCH_FLAVOR for executors (README, GPUs)");
    }
    if (!seesGpu) {
      return Optional.of(
          "PyTorch's CUDA libraries loaded from "
              + folder
              + " see no GPU in this process; check nvidia-smi there, that the driver is new enough"
              + " for them, and CUDA_VISIBLE_DEVICES");
    }
    return Optional.empty();
  }

  /**
   * That none could be loaded, and what to do.
   *
   * @param failure what DJL says, with its cause
   * @param variables environment variables
   */
  static ConfigException refusal(EngineException failure, Map<String, String> variables) {
    Throwable first = failure;
    // Bounded, since a chain of causes may be a ring.
    for (int depth = 0; depth < 20 && first.getCause() != null; depth++) {
      first = first.getCause();
    }
    ConfigException refusal =
        new ConfigException(
            "PYTORCH_LIBRARY_PATH",
            "PyTorch's native libraries ("
                + expected(variables)
                + ") do not load: "
                + failure.getMessage()
                + (first == failure ? "" : ", " + first)
                + "; set it to a folder with libtorch.so of PyTorch "
                + expectedVersion()
                + ", and PYTORCH_FLAVOR to cpu or to its CUDA build, such as cu128");
    refusal.initCause(failure);
    return refusal;
  }

  /**
   * Which libraries this JVM will load, found without loading them: their build and where they come
   * from.
   *
   * @param variables environment variables
   */
  public static String expected(Map<String, String> variables) {
    Optional<Properties> bundled = properties(BUNDLED);
    String path = variables.getOrDefault("PYTORCH_LIBRARY_PATH", "");
    String flavor = variables.getOrDefault("PYTORCH_FLAVOR", "");
    if (!path.isEmpty()) {
      return (flavor.isEmpty() ? "PYTORCH_FLAVOR not set" : flavor) + ", from " + path;
    }
    return bundled
        .map(of -> of.getProperty("flavor", "cpu") + ", bundled")
        .orElse(
            (flavor.isEmpty() ? "whichever fits the machine" : flavor)
                + ", downloaded when first used");
  }

  /** The version of PyTorch, found without loading it; {@code unknown} if nothing tells. */
  public static String expectedVersion() {
    return properties(BUNDLED)
        .map(of -> of.getProperty("version"))
        .or(
            () ->
                properties("pytorch-engine.properties")
                    .map(of -> of.getProperty("pytorch_version")))
        .orElse("unknown");
  }

  private static Optional<Properties> properties(String resource) {
    try (InputStream in = NativeLibraries.class.getClassLoader().getResourceAsStream(resource)) {
      if (in == null) {
        return Optional.empty();
      }
      Properties properties = new Properties();
      properties.load(in);
      return Optional.of(properties);
    } catch (IOException e) {
      throw new UncheckedIOException(resource, e);
    }
  }
}
