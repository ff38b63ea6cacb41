package org.sparkpeft.federated.client;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.error.ConfigException;

class TaskDeviceTest {
  @Test
  void aTaskWithoutAGpuAndTheDriverUseTheProcessor() {
    assertThat(TaskDevice.of(List.of(), 2)).isEqualTo(new ComputeDevice("cpu", 2));
    assertThat(TaskDevice.current(2)).isEqualTo(new ComputeDevice("cpu", 2));
  }

  /** Equal devices share a base model. */
  @Test
  void theFirstAddressIsTheDevice() {
    assertThat(TaskDevice.of(List.of("0"), 1)).isEqualTo(new ComputeDevice("cuda:0", 1));
    assertThat(TaskDevice.of(List.of("3", "1"), 1)).isEqualTo(new ComputeDevice("cuda:3", 1));
    assertThat(TaskDevice.of(List.of("010"), 1)).isEqualTo(TaskDevice.of(List.of("10"), 1));
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6",
        "MIG-8932f937-d72c-4106-c12f-20bd9faed9f6",
        "0:1",
        "-1",
        "99999",
        " 0",
        ""
      })
  void whatIsNoNumberIsRefusedWithTheValue(String address) {
    assertThatThrownBy(() -> TaskDevice.of(List.of(address), 1))
        .isInstanceOf(ConfigException.class)
        .hasMessageStartingWith("spark.executor.resource.gpu.discoveryScript: ")
        .hasMessageContaining("got \"" + address + "\"")
        .hasMessageContaining("conf/gpu-discovery.sh");
  }
}
