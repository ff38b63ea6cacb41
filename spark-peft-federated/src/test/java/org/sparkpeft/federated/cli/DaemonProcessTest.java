package org.sparkpeft.federated.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class DaemonProcessTest {
  @TempDir private Path folder;

  @Test
  void aProcessIsFoundAgainAndEnded() throws IOException {
    Process process = new ProcessBuilder("sleep", "60").start();
    try {
      DaemonProcess.started("sleeper", process).write(folder);
      Files.writeString(folder.resolve("other.txt"), "not a note");
      Files.writeString(folder.resolve("odd.pid"), "not a note either");

      DaemonProcess found = DaemonProcess.readAll(folder).get(0);

      assertThat(DaemonProcess.readAll(folder)).hasSize(1);
      assertThat(found.name()).isEqualTo("sleeper");
      assertThat(found.end()).isTrue();
      assertThat(process.onExit()).succeedsWithin(java.time.Duration.ofSeconds(20));
      assertThat(found.end()).isFalse();
      found.forget(folder);
      assertThat(DaemonProcess.readAll(folder)).isEmpty();
    } finally {
      process.destroyForcibly();
    }
  }

  @Test
  void anotherProcessWithTheSameIdIsLeftAlone() throws IOException {
    Process process = new ProcessBuilder("sleep", "60").start();
    try {
      DaemonProcess stale = new DaemonProcess("gone", process.pid(), Instant.EPOCH);

      assertThat(stale.handle()).isEmpty();
      assertThat(stale.end()).isFalse();
      assertThat(process.isAlive()).isTrue();
    } finally {
      process.destroyForcibly();
    }
  }

  @Test
  void aFolderThatIsNotThereHasNone() {
    assertThat(DaemonProcess.readAll(folder.resolve("none"))).isEmpty();
  }
}
