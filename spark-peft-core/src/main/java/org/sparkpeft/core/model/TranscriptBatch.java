package org.sparkpeft.core.model;

/**
 * Recordings and, for each, the text that a decoder reads.
 *
 * @param recordings what the encoder hears
 * @param texts as many as recordings
 */
public record TranscriptBatch(FrameBatch recordings, TokenBatch texts) implements ModelInput {

  /**
   * @throws IllegalArgumentException if there are not as many texts as recordings
   */
  public TranscriptBatch {
    if (recordings.size() != texts.size()) {
      throw new IllegalArgumentException(
          texts.size() + " texts for " + recordings.size() + " recordings");
    }
  }

  @Override
  public int size() {
    return recordings.size();
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
