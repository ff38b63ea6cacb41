package org.sparkpeft.core.model;

/**
 * Images and a text for each, as models read them that compare the two.
 *
 * @param images as many as texts
 * @param texts one for each image
 */
public record ImageTextBatch(PixelBatch images, TokenBatch texts) implements ModelInput {

  /**
   * @throws IllegalArgumentException if there are not as many texts as images
   */
  public ImageTextBatch {
    if (images.size() != texts.size()) {
      throw new IllegalArgumentException(texts.size() + " texts for " + images.size() + " images");
    }
  }

  @Override
  public int size() {
    return images.size();
  }

  /** Of the texts. */
  @Override
  public int width() {
    return texts.width();
  }

  /** Of the text. */
  @Override
  public int length(int row) {
    return texts.length(row);
  }

  @Override
  public boolean isPadded() {
    return texts.isPadded();
  }

  @Override
  public int task(int row) {
    return texts.task(row);
  }
}
