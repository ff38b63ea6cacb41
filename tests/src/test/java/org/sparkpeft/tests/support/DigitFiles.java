package org.sparkpeft.tests.support;

import java.awt.Graphics2D;
import java.awt.RenderingHints;
import java.awt.image.BufferedImage;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.zip.GZIPInputStream;
import javax.imageio.ImageIO;

/**
 * UCI's optical recognition of handwritten digits, 8 x 8 levels from 0 to 16 in rows of a table, as
 * files that a recipe reads: PNG images as MNIST has them, 28 x 28, the digit in the middle 20 x
 * 20, and tables of {@code image} (a path) and {@code label}. Needs the JDK alone: {@code java
 * DigitFiles.java SOURCE TARGET}.
 */
public final class DigitFiles {
  private static final int SIDE = 8;
  private static final int DIGIT = 20;
  private static final int IMAGE = 28;

  private DigitFiles() {}

  /**
   * @param args the folder with {@code train.csv.gz} and {@code test.csv.gz}; the folder to write;
   *     and, to choose settings without the test rows, {@code validation}: every fifth training row
   *     is a test row then
   */
  public static void main(String[] args) {
    Path source = Path.of(args[0]);
    Path target = Path.of(args[1]);
    if (args.length > 2) {
      write(source.resolve("train.csv.gz"), target, "train", Integer.MAX_VALUE, 5, false);
      write(source.resolve("train.csv.gz"), target, "test", Integer.MAX_VALUE, 5, true);
    } else {
      write(source.resolve("train.csv.gz"), target, "train", Integer.MAX_VALUE);
      write(source.resolve("test.csv.gz"), target, "test", Integer.MAX_VALUE);
    }
  }

  /**
   * @param name of the table and the folder of images
   * @param rows at most so many
   */
  public static void write(Path table, Path target, String name, int rows) {
    write(table, target, name, rows, 1, true);
  }

  /** Rows whose number is a multiple of {@code step}, or the others. */
  private static void write(
      Path table, Path target, String name, int rows, int step, boolean multiples) {
    try (BufferedReader lines =
        new BufferedReader(
            new InputStreamReader(
                new GZIPInputStream(Files.newInputStream(table)), StandardCharsets.UTF_8))) {
      Files.createDirectories(target.resolve(name));
      List<String> written = new ArrayList<>(List.of("image,label"));
      List<String> data = lines.lines().filter(line -> Character.isDigit(line.charAt(0))).toList();
      for (int row = 0; row < data.size() && written.size() <= rows; row++) {
        if (row % step == 0 != multiples) {
          continue;
        }
        String[] cells = data.get(row).split(",", -1);
        String file = "%s/%04d.png".formatted(name, row);
        ImageIO.write(image(cells), "png", target.resolve(file).toFile());
        written.add(file + "," + cells[SIDE * SIDE]);
      }
      Files.write(target.resolve(name + ".csv"), written);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static BufferedImage image(String[] levels) {
    BufferedImage small = new BufferedImage(SIDE, SIDE, BufferedImage.TYPE_BYTE_GRAY);
    for (int i = 0; i < SIDE * SIDE; i++) {
      int level = Math.min(255, 16 * Integer.parseInt(levels[i]));
      small.getRaster().setSample(i % SIDE, i / SIDE, 0, level);
    }
    BufferedImage image = new BufferedImage(IMAGE, IMAGE, BufferedImage.TYPE_BYTE_GRAY);
    Graphics2D graphics = image.createGraphics();
    graphics.setRenderingHint(
        RenderingHints.KEY_INTERPOLATION, RenderingHints.VALUE_INTERPOLATION_BICUBIC);
    int edge = (IMAGE - DIGIT) / 2;
    graphics.drawImage(small, edge, edge, DIGIT, DIGIT, null);
    graphics.dispose();
    return image;
  }
}
