package org.sparkpeft.core.media;

import com.fasterxml.jackson.databind.JsonNode;
import java.awt.image.BufferedImage;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Iterator;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.model.PixelBatch;

/**
 * What {@code preprocessor_config.json} says of images: resize, cut the centre out, rescale,
 * normalise, in this order. Resizing gives Pillow's levels.
 */
public final class ImageProcessor {
  private static final Set<String> KNOWN_STEPS =
      Set.of("do_resize", "do_rescale", "do_normalize", "do_center_crop", "do_convert_rgb");
  private static final List<Double> HALF = List.of(0.5, 0.5, 0.5);

  private final int channels;
  private final Optional<ImageSize> size;
  private final Resampling filter;
  private final Optional<ImageSize> crop;
  private final double rescale;
  private final List<Double> mean;
  private final List<Double> deviation;

  private ImageProcessor(Settings settings) {
    for (Iterator<String> keys = settings.json().fieldNames(); keys.hasNext(); ) {
      String key = keys.next();
      if (key.startsWith("do_") && !KNOWN_STEPS.contains(key) && settings.flag(key, false)) {
        throw new FormatException(
            settings.source(), key + " is not supported; supported are " + sorted(KNOWN_STEPS));
      }
    }
    if (settings.has("crop_pct")) {
      throw new FormatException(settings.source(), "crop_pct is not supported");
    }
    String type = settings.text("image_processor_type") + settings.text("feature_extractor_type");
    boolean clip = type.startsWith("CLIP");
    boolean crops = settings.flag("do_center_crop", clip || type.startsWith("DeiT"));
    this.channels = settings.count("num_channels", 3, 3);
    if (channels == 2) {
      throw settings.wrong("num_channels", "1 or 3");
    }
    this.size =
        settings.flag("do_resize", true)
            ? Optional.of(ImageSize.of(settings, "size", clip, 224))
            : Optional.empty();
    this.filter = filter(settings, clip || type.startsWith("DeiT") ? 3 : 2);
    this.crop =
        crops ? Optional.of(ImageSize.of(settings, "crop_size", false, 224)) : Optional.empty();
    this.rescale =
        settings.flag("do_rescale", true) ? settings.positive("rescale_factor", 1 / 255.0) : 1;
    boolean normalize = settings.flag("do_normalize", true);
    if (normalize && clip && !(settings.has("image_mean") && settings.has("image_std"))) {
      throw settings.wrong("image_mean and image_std", "given");
    }
    this.mean = normalize ? perChannel(settings, "image_mean", HALF) : List.of();
    this.deviation = normalize ? perChannel(settings, "image_std", HALF) : List.of();
    if (deviation.stream().anyMatch(d -> !(d > 0))) {
      throw settings.wrong("image_std", "above 0");
    }
  }

  /**
   * Reads a model's settings.
   *
   * @throws DataException if the model has no {@code preprocessor_config.json}
   * @throws FormatException if a setting is malformed or not supported
   */
  public static ImageProcessor of(ModelDirectory model) {
    return of(
        model.path().resolve(ModelDirectory.PREPROCESSOR).toString(),
        model
            .preprocessor()
            .orElseThrow(
                () ->
                    new DataException(
                        model.path()
                            + " has no "
                            + ModelDirectory.PREPROCESSOR
                            + ", which says how images become numbers")));
  }

  /**
   * @param source where the settings came from, for messages
   * @throws FormatException if a setting is malformed or not supported
   */
  public static ImageProcessor of(String source, JsonNode settings) {
    return new ImageProcessor(new Settings(source, settings));
  }

  private static List<String> sorted(Set<String> names) {
    return names.stream().sorted().toList();
  }

  private static Resampling filter(Settings settings, int fallback) {
    return Resampling.numbered((int) settings.number("resample", fallback))
        .orElseThrow(
            () ->
                settings.wrong(
                    "resample", "1 (Lanczos), 2 (bilinear), 3 (bicubic), 4 (box) or 5 (Hamming)"));
  }

  private List<Double> perChannel(Settings settings, String key, List<Double> fallback) {
    List<Double> numbers = settings.numbers(key, fallback.subList(0, channels));
    if (numbers.size() == 1 && channels > 1) {
      return Collections.nCopies(channels, numbers.get(0));
    }
    if (numbers.size() != channels) {
      throw settings.wrong(key, "as long as the image has channels, " + channels);
    }
    return numbers;
  }

  /**
   * Images as a model reads them.
   *
   * @throws DataException if they do not all get the same size
   */
  public PixelBatch batch(List<BufferedImage> images) {
    List<float[]> values = new ArrayList<>();
    int height = 0;
    int width = 0;
    for (BufferedImage image : images) {
      BufferedImage one = shaped(image);
      if (values.isEmpty()) {
        height = one.getHeight();
        width = one.getWidth();
      } else if (one.getHeight() != height || one.getWidth() != width) {
        throw new DataException(
            "image %d is %d x %d and the first %d x %d (height, width); set do_resize"
                .formatted(values.size(), one.getHeight(), one.getWidth(), height, width));
      }
      values.add(numbers(one));
    }
    return PixelBatch.of(values, channels, height, width);
  }

  /** 1 or 3. */
  int channels() {
    return channels;
  }

  /** The image resized and cut. */
  BufferedImage shaped(BufferedImage image) {
    BufferedImage rgb = Images.rgb(image, channels == 1);
    if (size.isPresent()) {
      int[] wanted = size.get().of(rgb.getHeight(), rgb.getWidth());
      long largest = (long) Math.max(wanted[0], rgb.getHeight()) * wanted[1];
      if (largest > Images.MAX_PIXELS) {
        throw new DataException(
            "an image of %d x %d pixels is too narrow to resize to %d x %d"
                .formatted(rgb.getWidth(), rgb.getHeight(), wanted[1], wanted[0]));
      }
      if (wanted[0] != rgb.getHeight() || wanted[1] != rgb.getWidth()) {
        rgb = filter.resize(rgb, wanted[1], wanted[0]);
      }
    }
    return crop.isPresent() ? centre(rgb, crop.get()) : rgb;
  }

  /** The middle of an image, with black around it where it is smaller. */
  private static BufferedImage centre(BufferedImage image, ImageSize size) {
    BufferedImage cut = new BufferedImage(size.width(), size.height(), BufferedImage.TYPE_INT_RGB);
    int top = Math.floorDiv(image.getHeight() - size.height(), 2);
    int left = Math.floorDiv(image.getWidth() - size.width(), 2);
    for (int y = Math.max(0, -top); y < Math.min(size.height(), image.getHeight() - top); y++) {
      for (int x = Math.max(0, -left); x < Math.min(size.width(), image.getWidth() - left); x++) {
        cut.setRGB(x, y, image.getRGB(left + x, top + y));
      }
    }
    return cut;
  }

  /** {@code [channels, height, width]}. */
  float[] numbers(BufferedImage image) {
    int height = image.getHeight();
    int width = image.getWidth();
    int[] pixels = image.getRGB(0, 0, width, height, null, 0, width);
    float[] values = new float[channels * pixels.length];
    for (int channel = 0; channel < channels; channel++) {
      int shift = 16 - 8 * channel;
      for (int i = 0; i < pixels.length; i++) {
        float level = (float) ((pixels[i] >> shift & 0xff) * rescale);
        values[channel * pixels.length + i] =
            mean.isEmpty()
                ? level
                : (level - mean.get(channel).floatValue()) / deviation.get(channel).floatValue();
      }
    }
    return values;
  }
}
