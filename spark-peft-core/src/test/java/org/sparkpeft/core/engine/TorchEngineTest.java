package org.sparkpeft.core.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import org.junit.jupiter.api.Test;

class TorchEngineTest {

  @Test
  void theEngineDoesNotReportItsUse() {
    assumeTrue(System.getenv("OPT_OUT_TRACKING") == null, "the user decides");
    ComputeDevice.cpu().newManager().close();
    assertThat(System.getProperty("OPT_OUT_TRACKING")).isEqualTo("true");
    assertThat(TorchEngine.version()).startsWith("PyTorch 2.");
  }
}
