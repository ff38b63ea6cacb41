package org.sparkpeft.core.media;

import java.awt.image.BufferedImage;
import java.util.Arrays;
import java.util.Optional;

/**
 * Resizing as Pillow does it, bit for bit, because models are trained on its images: each line,
 * then each column, is a weighted mean of the pixels under a filter that is widened when the image
 * shrinks and cut off at the border; weights have 22 binary digits, and levels are rounded after
 * both passes. The JDK's own scaling skips pixels instead.
 */
enum Resampling {
  LANCZOS(1, 3) {
    @Override
    double at(double x) {
      return Math.abs(x) < 3 ? sinc(x) * sinc(x / 3) : 0;
    }
  },
  BILINEAR(2, 1) {
    @Override
    double at(double x) {
      return Math.max(0, 1 - Math.abs(x));
    }
  },
  /** Keys' cubic with a = -1/2. */
  BICUBIC(3, 2) {
    @Override
    double at(double x) {
      double d = Math.abs(x);
      if (d < 1) {
        return (1.5 * d - 2.5) * d * d + 1;
      }
      return d < 2 ? -0.5 * (((d - 5) * d + 8) * d - 4) : 0;
    }
  },
  BOX(4, 0.5) {
    @Override
    double at(double x) {
      return x > -0.5 && x <= 0.5 ? 1 : 0;
    }
  },
  HAMMING(5, 1) {
    @Override
    double at(double x) {
      return Math.abs(x) < 1 ? sinc(x) * (0.54 + 0.46 * Math.cos(Math.PI * x)) : 0;
    }
  };

  private static final int BITS = 22;

  private final int number;
  private final double support;

  Resampling(int number, double support) {
    this.number = number;
    this.support = support;
  }

  /** The filter's weight at a distance in pixels. */
  abstract double at(double x);

  private static double sinc(double x) {
    return x == 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
  }

  /** The filter that Pillow gives a number. */
  static Optional<Resampling> numbered(int number) {
    return Arrays.stream(values()).filter(r -> r.number == number).findFirst();
  }

  /** The image in another size, 8 bits for each of red, green and blue. */
  BufferedImage resize(BufferedImage image, int width, int height) {
    int[] pixels =
        image.getRGB(0, 0, image.getWidth(), image.getHeight(), null, 0, image.getWidth());
    int[] lines = pass(pixels, image.getWidth(), image.getHeight(), width);
    int[] columns = turned(lines, width, image.getHeight());
    int[] resized = turned(pass(columns, image.getHeight(), width, height), height, width);
    BufferedImage result = new BufferedImage(width, height, BufferedImage.TYPE_INT_RGB);
    result.setRGB(0, 0, width, height, resized, 0, width);
    return result;
  }

  /** Lines of {@code length} pixels to lines of {@code wanted}. */
  private int[] pass(int[] pixels, int length, int lines, int wanted) {
    int[] result = new int[Math.multiplyExact(lines, wanted)];
    double scale = (double) length / wanted;
    double reach = support * Math.max(1, scale);
    for (int i = 0; i < wanted; i++) {
      double centre = (i + 0.5) * scale;
      int from = Math.max(0, (int) (centre - reach + 0.5));
      int to = Math.min(length, (int) (centre + reach + 0.5));
      int[] weights = weights(centre, from, to, Math.max(1, scale));
      for (int line = 0; line < lines; line++) {
        result[line * wanted + i] = mean(pixels, line * length + from, weights);
      }
    }
    return result;
  }

  private int[] weights(double centre, int from, int to, double stretch) {
    double[] exact = new double[to - from];
    double sum = 0;
    for (int i = 0; i < exact.length; i++) {
      exact[i] = at((i + from - centre + 0.5) / stretch);
      sum += exact[i];
    }
    int[] weights = new int[exact.length];
    for (int i = 0; i < weights.length; i++) {
      double weight = exact[i] / sum * (1 << BITS);
      weights[i] = (int) (weight + Math.copySign(0.5, weight));
    }
    return weights;
  }

  private static int mean(int[] pixels, int from, int[] weights) {
    int red = 1 << (BITS - 1);
    int green = red;
    int blue = red;
    for (int i = 0; i < weights.length; i++) {
      int pixel = pixels[from + i];
      red += (pixel >> 16 & 0xff) * weights[i];
      green += (pixel >> 8 & 0xff) * weights[i];
      blue += (pixel & 0xff) * weights[i];
    }
    return level(red) << 16 | level(green) << 8 | level(blue);
  }

  private static int level(int sum) {
    return Math.max(0, Math.min(255, sum >> BITS));
  }

  /** Lines to columns. */
  private static int[] turned(int[] pixels, int width, int height) {
    int[] turned = new int[pixels.length];
    for (int y = 0; y < height; y++) {
      for (int x = 0; x < width; x++) {
        turned[x * height + y] = pixels[y * width + x];
      }
    }
    return turned;
  }
}
