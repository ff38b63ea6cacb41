package org.sparkpeft.core.io;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class AtomicFilesTest {
  @TempDir Path dir;

  private static IOException diskFull() {
    return new IOException("No space left on device");
  }

  @Test
  void writesAndReplaces() throws IOException {
    Path file = dir.resolve("a/b/file");
    AtomicFiles.write(file, new byte[] {1});
    AtomicFiles.write(file, new byte[] {2, 3});
    assertThat(file).hasBinaryContent(new byte[] {2, 3});
    assertThat(file.getParent()).isDirectoryNotContaining("glob:**.tmp");
    assertThat(PosixFilePermissions.toString(Files.getPosixFilePermissions(file)))
        .as("readable by others, unlike a file of createTempFile")
        .isEqualTo(
            PosixFilePermissions.toString(
                Files.getPosixFilePermissions(Files.createFile(dir.resolve("plain")))));
  }

  @Test
  void writesLongContentInPieces() throws IOException {
    byte[] content = new byte[(3 << 20) + 17];
    new Random(4).nextBytes(content);
    AtomicFiles.write(dir.resolve("x"), content);
    assertThat(dir.resolve("x")).hasBinaryContent(content);
  }

  @Test
  void aFailedWriteLeavesTheOldFileAndNothingElse() throws IOException {
    Path file = dir.resolve("file");
    AtomicFiles.write(file, new byte[] {1});
    assertThatThrownBy(
            () ->
                AtomicFiles.write(
                    file,
                    channel -> {
                      AtomicFiles.writeFully(channel, ByteBuffer.allocate(100));
                      throw diskFull();
                    }))
        .isInstanceOf(UncheckedIOException.class)
        .hasMessageContaining(file.toString())
        .hasMessageContaining("No space left on device");
    assertThat(file).hasBinaryContent(new byte[] {1});
    assertThat(dir).isDirectoryContaining("glob:**/file");
    try (var list = Files.list(dir)) {
      assertThat(list).hasSize(1);
    }
  }

  @Test
  void replacesADirectoryWhole() throws IOException {
    Path target = dir.resolve("out");
    AtomicFiles.replaceDirectory(target, d -> Files.writeString(d.resolve("old"), "1"));
    AtomicFiles.replaceDirectory(
        target,
        d -> {
          Files.createDirectory(d.resolve("sub"));
          Files.writeString(d.resolve("sub/new"), "2");
        });
    assertThat(target.resolve("old")).doesNotExist();
    assertThat(target.resolve("sub/new")).hasContent("2");
    try (var list = Files.list(dir)) {
      assertThat(list).containsExactly(target);
    }
  }

  @Test
  void aFailedReplacementKeepsTheOldDirectory() throws IOException {
    Path target = dir.resolve("out");
    AtomicFiles.replaceDirectory(target, d -> Files.writeString(d.resolve("old"), "1"));
    assertThatThrownBy(
            () ->
                AtomicFiles.replaceDirectory(
                    target,
                    d -> {
                      Files.writeString(d.resolve("half"), "2");
                      AtomicFiles.write(
                          d.resolve("inner"),
                          channel -> {
                            throw diskFull();
                          });
                    }))
        .isInstanceOf(UncheckedIOException.class)
        .hasMessageStartingWith("cannot write " + target + " (")
        .hasMessageContaining("No space left on device");
    assertThatThrownBy(
            () ->
                AtomicFiles.replaceDirectory(
                    target,
                    d -> {
                      throw new IllegalArgumentException("mine");
                    }))
        .isInstanceOf(IllegalArgumentException.class);
    assertThat(target.resolve("old")).hasContent("1");
    try (var list = Files.list(dir)) {
      assertThat(list).containsExactly(target);
    }
  }

  @Test
  void followsALinkToADirectoryAndKeepsIt() throws IOException {
    Path real = Files.createDirectory(dir.resolve("real"));
    Path link = Files.createSymbolicLink(dir.resolve("link"), real);
    AtomicFiles.replaceDirectory(link, d -> Files.writeString(d.resolve("new"), "1"));
    assertThat(link).isSymbolicLink();
    assertThat(real.resolve("new")).hasContent("1");
  }

  @Test
  void deletingFollowsNoLinks() throws IOException {
    Path outside = Files.createDirectory(dir.resolve("outside"));
    Files.writeString(outside.resolve("keep"), "1");
    Path tree = Files.createDirectory(dir.resolve("tree"));
    Files.createSymbolicLink(tree.resolve("link"), outside);
    AtomicFiles.deleteTree(tree);
    assertThat(tree).doesNotExist();
    assertThat(outside.resolve("keep")).hasContent("1");
  }

  @Test
  void sha256MatchesPublishedValues() throws IOException {
    String abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    byte[] bytes = {'a', 'b', 'c'};
    assertThat(Sha256.hex(bytes)).isEqualTo(abc);
    assertThat(Sha256.hex(Files.write(dir.resolve("abc"), bytes))).isEqualTo(abc);
    assertThat(new Sha256().update("ab").update("c").hex())
        .isNotEqualTo(new Sha256().update("a").update("bc").hex());
  }
}
