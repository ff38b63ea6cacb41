package org.sparkpeft.core.media;

import java.awt.image.BufferedImage;
import java.awt.image.ColorModel;
import java.awt.image.IndexColorModel;
import java.awt.image.Raster;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import javax.imageio.ImageIO;
import javax.imageio.ImageReader;
import javax.imageio.stream.ImageInputStream;
import javax.imageio.stream.MemoryCacheImageInputStream;
import org.sparkpeft.core.error.DataException;

/** Decoding of images in the formats that the JDK reads: PNG, JPEG, GIF, BMP, TIFF. */
public final class Images {
  /** Largest image that is decoded: 64 megapixels. */
  public static final int MAX_PIXELS = 1 << 26;

  private Images() {}

  /**
   * The first image of a file. Its orientation tag is not applied, as in Hugging Face's data sets.
   *
   * @param source what the bytes are, for messages
   * @throws DataException if they are no image that can be read, or it has more than {@link
   *     #MAX_PIXELS} pixels
   */
  public static BufferedImage decode(String source, byte[] bytes) {
    try (ImageInputStream stream =
        new MemoryCacheImageInputStream(new ByteArrayInputStream(bytes))) {
      Iterator<ImageReader> readers = ImageIO.getImageReaders(stream);
      if (!readers.hasNext()) {
        throw new DataException(
            source
                + ": not an image in a format that can be read; convert it to PNG or JPEG ("
                + bytes.length
                + " bytes)");
      }
      ImageReader reader = readers.next();
      try {
        reader.setInput(stream, true, true);
        requireSize(source, reader.getWidth(0), reader.getHeight(0));
        List<String> warnings = new ArrayList<>();
        reader.addIIOReadWarningListener((from, warning) -> warnings.add(warning));
        BufferedImage image = reader.read(0);
        requireWhole(source, warnings);
        return image;
      } finally {
        reader.dispose();
      }
    } catch (DataException e) {
      throw e;
    } catch (IOException | RuntimeException e) {
      // Decoders answer broken files with any of these.
      throw new DataException(source + ": the image is damaged: " + e.getMessage(), e);
    }
  }

  /** The JDK makes up what a JPEG that was cut off lacks, and says so only here. */
  private static void requireWhole(String source, List<String> warnings) {
    for (String warning : warnings) {
      if (warning.contains("Truncated") || warning.contains("premature end")) {
        throw new DataException(source + ": the image is cut off: " + warning);
      }
    }
  }

  /**
   * An image from its levels.
   *
   * @param source what the levels are, for messages
   * @param channels 1 grey, 3 blue, green, red, or 4 with transparency, which is ignored
   * @param levels {@code [height, width, channels]}
   * @throws DataException if their number is another, or there are too many pixels
   */
  static BufferedImage ofLevels(String source, int height, int width, int channels, byte[] levels) {
    requireSize(source, width, height);
    if (!(channels == 1 || channels == 3 || channels == 4)
        || levels.length != (long) height * width * channels) {
      throw new DataException(
          "%s: an image of %d x %d pixels of %d channels with %d levels; channels must be 1, 3 or 4"
              .formatted(source, width, height, channels, levels.length));
    }
    BufferedImage image = new BufferedImage(width, height, BufferedImage.TYPE_INT_RGB);
    for (int i = 0; i < height * width; i++) {
      int at = i * channels;
      int blue = levels[at] & 0xff;
      int rgb =
          channels == 1
              ? 0x010101 * blue
              : (levels[at + 2] & 0xff) << 16 | (levels[at + 1] & 0xff) << 8 | blue;
      image.setRGB(i % width, i / width, rgb);
    }
    return image;
  }

  private static void requireSize(String source, int width, int height) {
    if (width < 1 || height < 1 || (long) width * height > MAX_PIXELS) {
      throw new DataException(
          source
              + ": an image of "
              + width
              + " x "
              + height
              + " pixels; at most "
              + MAX_PIXELS
              + " pixels are read; make it smaller");
    }
  }

  /**
   * The image in 8-bit red, green and blue without transparency, or in grey, {@code 0.299 r + 0.587
   * g + 0.114 b}, in all three.
   */
  static BufferedImage rgb(BufferedImage image, boolean grey) {
    int width = image.getWidth();
    int height = image.getHeight();
    BufferedImage result = new BufferedImage(width, height, BufferedImage.TYPE_INT_RGB);
    for (int y = 0; y < height; y++) {
      for (int x = 0; x < width; x++) {
        int pixel = isGrey(image) ? 0x010101 * level(image, x, y) : image.getRGB(x, y);
        result.setRGB(x, y, grey ? 0x010101 * luminance(pixel) : pixel);
      }
    }
    return result;
  }

  /** One band, perhaps with transparency: the JDK would convert its brightness to sRGB. */
  private static boolean isGrey(BufferedImage image) {
    ColorModel model = image.getColorModel();
    return model.getNumColorComponents() == 1 && !(model instanceof IndexColorModel);
  }

  private static int level(BufferedImage image, int x, int y) {
    Raster raster = image.getRaster();
    int bits = image.getColorModel().getComponentSize(0);
    int level = raster.getSample(x, y, 0);
    return bits > 8 ? level >> (bits - 8) : level;
  }

  /** As Pillow rounds it. */
  private static int luminance(int rgb) {
    int red = rgb >> 16 & 0xff;
    int green = rgb >> 8 & 0xff;
    int blue = rgb & 0xff;
    return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
  }
}
