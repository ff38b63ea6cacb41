package org.sparkpeft.core.media;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.List;
import java.util.Set;
import org.sparkpeft.core.model.WaveBatch;

/**
 * Samples as {@code Wav2Vec2FeatureExtractor} gives them to a model: each recording freed of its
 * mean and divided by its deviation, {@code (x - mean) / sqrt(variance + 1e-7)}, or as it is.
 *
 * @param rate samples in a second
 * @param normalize whether recordings are normalised
 */
public record WaveFeatures(int rate, boolean normalize) {
  private static final double EPSILON = 1e-7;
  private static final int MOST = 1 << 20;

  /**
   * Reads {@code preprocessor_config.json}.
   *
   * @param source where the settings came from, for messages
   * @throws org.sparkpeft.core.error.FormatException if a setting is malformed or not supported
   */
  public static WaveFeatures of(String source, JsonNode json) {
    Settings settings = new Settings(source, json);
    settings.only("feature_size", Set.of("1"));
    settings.only("padding_value", Set.of("0.0", "0"));
    return new WaveFeatures(
        settings.count("sampling_rate", 16_000, MOST), settings.flag("do_normalize", true));
  }

  /**
   * Recordings as a model reads them.
   *
   * @throws org.sparkpeft.core.error.DataException if a rate is another
   */
  public WaveBatch batch(List<Recording> recordings) {
    return WaveBatch.of(recordings.stream().map(this::of).toList());
  }

  float[] of(Recording recording) {
    recording.requireRate(rate);
    float[] samples = recording.toArray();
    if (!normalize) {
      return samples;
    }
    double sum = 0;
    for (float sample : samples) {
      sum += sample;
    }
    double mean = sum / samples.length;
    double squares = 0;
    for (float sample : samples) {
      squares += (sample - mean) * (sample - mean);
    }
    double deviation = Math.sqrt(squares / samples.length + EPSILON);
    for (int i = 0; i < samples.length; i++) {
      samples[i] = (float) ((samples[i] - mean) / deviation);
    }
    return samples;
  }
}
