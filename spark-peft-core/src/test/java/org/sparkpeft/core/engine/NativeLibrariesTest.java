package org.sparkpeft.core.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeFalse;

import ai.djl.engine.EngineException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.sparkpeft.core.error.ConfigException;

class NativeLibrariesTest {
  private static final ComputeDevice GPU = new ComputeDevice("cuda:1", 1);

  @Test
  void aProcessorNeedsNothingAndAGpuBoth() {
    NativeLibraries cpu = new NativeLibraries("/there", false, false);
    NativeLibraries blind = new NativeLibraries("/there", true, false);
    assertThat(cpu.problem(ComputeDevice.cpu())).isEmpty();
    assertThat(blind.problem(ComputeDevice.cpu())).isEmpty();
    assertThat(cpu.problem(GPU).orElseThrow())
        .contains("/there", "the processor alone", "mvn -Pgpu", "PYTORCH_LIBRARY_PATH");
    assertThat(blind.problem(GPU).orElseThrow())
        .contains("/there", "see no GPU", "nvidia-smi", "CUDA_VISIBLE_DEVICES");
    assertThat(new NativeLibraries("/there", true, true).problem(GPU)).isEmpty();
  }

  @Test
  void thoseOfThisProcessComputeOnItsProcessor() {
    NativeLibraries loaded = NativeLibraries.loaded();
    assertThat(Files.exists(Path.of(loaded.folder(), System.mapLibraryName("torch")))).isTrue();
    assertThat(ComputeDevice.cpu().problem()).isEmpty();
    assumeFalse(loaded.seesGpu(), "the machine has a GPU");
    assertThat(GPU.problem()).isPresent();
  }

  @Test
  void theEnvironmentSaysWhichWillBeLoaded() {
    assertThat(NativeLibraries.expected(Map.of())).isEqualTo("cpu, bundled");
    assertThat(
            NativeLibraries.expected(
                Map.of("PYTORCH_LIBRARY_PATH", "/opt/lib", "PYTORCH_FLAVOR", "cu128")))
        .isEqualTo("cu128, from /opt/lib");
    assertThat(NativeLibraries.expected(Map.of("PYTORCH_LIBRARY_PATH", "/opt/lib")))
        .isEqualTo("PYTORCH_FLAVOR not set, from /opt/lib");
    assertThat(NativeLibraries.expectedVersion()).matches("\\d+\\.\\d+\\.\\d+.*");
  }

  @Test
  void librariesThatDoNotLoadAreRefusedWithTheFirstCause() {
    EngineException failure =
        new EngineException("no index", new IllegalStateException("no such host"));
    ConfigException refusal =
        NativeLibraries.refusal(failure, Map.of("PYTORCH_LIBRARY_PATH", "/opt/lib"));
    assertThat(refusal)
        .hasMessageStartingWith("PYTORCH_LIBRARY_PATH: ")
        .hasMessageContaining("from /opt/lib) do not load: no index")
        .hasMessageContaining("no such host")
        .hasMessageContaining("PYTORCH_FLAVOR")
        .hasCause(failure);
  }
}
