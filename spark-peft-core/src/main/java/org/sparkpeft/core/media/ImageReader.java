package org.sparkpeft.core.media;

import java.awt.image.BufferedImage;
import java.util.List;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.model.InputForm;

/** Images for a model that reads one size. */
record ImageReader(ImageProcessor processor, List<Integer> wanted) implements MediaReader {

  @Override
  public Values file(String source, byte[] bytes) {
    return of(source, Images.decode(source, bytes));
  }

  @Override
  public Values pixels(String source, int height, int width, int channels, byte[] levels) {
    return of(source, Images.ofLevels(source, height, width, channels, levels));
  }

  private Values of(String source, BufferedImage image) {
    try {
      BufferedImage shaped = processor.shaped(image);
      List<Integer> shape = List.of(processor.channels(), shaped.getHeight(), shaped.getWidth());
      if (!shape.equals(wanted)) {
        throw new DataException(
            "becomes %s (channels, height, width), the model reads %s; resize it, or set do_resize and size in the model's preprocessor_config.json"
                .formatted(InputForm.shown(shape), InputForm.shown(wanted)));
      }
      return new Values(
          processor.numbers(shaped), shape.stream().mapToInt(Integer::intValue).toArray());
    } catch (DataException e) {
      throw new DataException(source + ": " + e.getMessage(), e);
    }
  }
}
