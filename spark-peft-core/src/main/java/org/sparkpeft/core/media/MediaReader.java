package org.sparkpeft.core.media;

import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.model.Backbones;
import org.sparkpeft.core.model.InputForm;

/**
 * From files of images or sound to the numbers that one model reads, with the settings of the
 * model's directory. Immutable; safe for use by several threads.
 */
public interface MediaReader {

  /**
   * An example for a model.
   *
   * @param values row-major
   * @param shape {@code [channels, height, width]}, {@code [frames, features]} or {@code [samples]}
   */
  record Values(float[] values, int[] shape) {}

  /**
   * Reads the bytes of a file.
   *
   * @param source what the bytes are, for messages
   * @throws org.sparkpeft.core.error.DataException if they cannot be read, or do not become what
   *     the model reads; the message names {@code source}
   */
  Values file(String source, byte[] bytes);

  /**
   * Reads an image as OpenCV and Spark's image data source hold it.
   *
   * @param source what the bytes are, for messages
   * @param channels 1 grey, 3 blue, green, red, or 4 with transparency, which is ignored
   * @param levels {@code [height, width, channels]}
   * @throws org.sparkpeft.core.error.DataException as {@link #file}, or if the model hears
   */
  Values pixels(String source, int height, int width, int channels, byte[] levels);

  /**
   * What a model of images or sound needs.
   *
   * @throws org.sparkpeft.core.error.DataException if the directory lacks the settings
   * @throws org.sparkpeft.core.error.FormatException if a setting is malformed or not supported
   * @throws IllegalArgumentException if the model reads text
   */
  static MediaReader of(ModelDirectory model) {
    InputForm form = Backbones.input(model);
    return switch (form.kind()) {
      case IMAGE -> new ImageReader(ImageProcessor.of(model), form.shape());
      case FRAMES, SAMPLES -> SoundReader.of(model, form);
      case TOKENS -> throw new IllegalArgumentException("the model reads text");
    };
  }
}
