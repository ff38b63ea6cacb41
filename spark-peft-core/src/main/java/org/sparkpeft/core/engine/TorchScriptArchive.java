package org.sparkpeft.core.engine;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.zip.CRC32;
import java.util.zip.ZipEntry;
import java.util.zip.ZipOutputStream;

/**
 * Writes TorchScript modules without weights, so that operations DJL does not offer can be called.
 * The format is a zip file with uncompressed entries: the class as source text, and a pickle that
 * makes one instance of it.
 */
final class TorchScriptArchive {
  private TorchScriptArchive() {}

  /**
   * An archive with one class named {@code Kernel}.
   *
   * @param methods the class's methods as TorchScript source, indented by two spaces; {@code self}
   *     has type {@code __torch__.Kernel}
   */
  static byte[] of(String methods) {
    String code =
        "class Kernel(Module):\n"
            + "  __parameters__ = []\n"
            + "  __buffers__ = []\n"
            + "  training : bool\n"
            + methods;
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    try (ZipOutputStream zip = new ZipOutputStream(bytes)) {
      // Protocol 2; an instance of __torch__.Kernel whose state is {"training": False}.
      store(
          zip,
          "kernel/data.pkl",
          "\u0080\u0002c__torch__\nKernel\n)\u0081}(X\b\0\0\0training\u0089ub.");
      store(zip, "kernel/code/__torch__.py", code);
      store(zip, "kernel/constants.pkl", "\u0080\u0002).");
      store(zip, "kernel/version", "10\n");
    } catch (IOException e) {
      throw new UncheckedIOException("cannot happen in memory", e);
    }
    return bytes.toByteArray();
  }

  private static void store(ZipOutputStream zip, String name, String latin1) throws IOException {
    byte[] content = latin1.getBytes(StandardCharsets.ISO_8859_1);
    CRC32 crc = new CRC32();
    crc.update(content);
    ZipEntry entry = new ZipEntry(name);
    entry.setMethod(ZipEntry.STORED);
    entry.setSize(content.length);
    entry.setCrc(crc.getValue());
    entry.setTime(0);
    zip.putNextEntry(entry);
    zip.write(content);
    zip.closeEntry();
  }
}
