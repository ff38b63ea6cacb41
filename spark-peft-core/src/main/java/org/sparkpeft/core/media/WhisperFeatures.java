package org.sparkpeft.core.media;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import org.sparkpeft.core.model.FrameBatch;

/**
 * The log-mel spectrogram of {@code WhisperFeatureExtractor} (Radford et al. 2022, arXiv
 * 2212.04356): the recording padded by silence or cut to a fixed time, mirrored at its ends;
 * logarithms to base 10, at most 8 below the highest, then {@code (x + 4) / 4}.
 *
 * @param melBins filters: 80, or 128 for large-v3
 * @param fft window, and length of the transform
 * @param hop samples from a frame to the next
 * @param seconds length of a recording
 */
public record WhisperFeatures(int melBins, int fft, int hop, int seconds) {
  private static final int RATE = 16_000;
  private static final double FLOOR = 1e-10;
  private static final double RANGE = 8;

  /**
   * Reads {@code preprocessor_config.json}.
   *
   * @param source where the settings came from, for messages
   * @throws org.sparkpeft.core.error.FormatException if a setting is malformed or not supported
   */
  public static WhisperFeatures of(String source, JsonNode json) {
    Settings settings = new Settings(source, json);
    settings.only("sampling_rate", Set.of(Integer.toString(RATE)));
    settings.only("padding_value", Set.of("0.0", "0"));
    settings.only("dither", Set.of("0.0", "0"));
    settings.only("do_normalize", Set.of("false"));
    return new WhisperFeatures(
        settings.count("feature_size", 80, 512),
        settings.count("n_fft", 400, 1 << 13),
        settings.count("hop_length", 160, 1 << 13),
        settings.count("chunk_length", 30, 600));
  }

  /** Frames of a recording. */
  public int frames() {
    return seconds * RATE / hop;
  }

  /**
   * Recordings as a model reads them, frame after frame.
   *
   * @throws org.sparkpeft.core.error.DataException if a rate is not 16 kHz
   */
  public FrameBatch batch(List<Recording> recordings) {
    return FrameBatch.of(recordings.stream().map(this::of).toList(), frames(), melBins);
  }

  /** {@code [frames, melBins]}. */
  float[] of(Recording recording) {
    recording.requireRate(RATE);
    double[] logs = new double[frames() * melBins];
    Fourier fourier = new Fourier(fft);
    MelFilters filters = filters(fourier.bins());
    double[] window = new double[fft];
    for (int i = 0; i < fft; i++) {
      window[i] = 0.5 - 0.5 * Math.cos(2 * Math.PI * i / fft);
    }
    double[] frame = new double[fft];
    double[] power = new double[fourier.bins()];
    for (int t = 0; t < frames(); t++) {
      boolean sound = cut(recording.samples(), t * hop - fft / 2, window, frame);
      if (sound) {
        fourier.power(frame, power);
      } else {
        Arrays.fill(power, 0);
      }
      for (int f = 0; f < melBins; f++) {
        logs[t * melBins + f] = Math.log10(Math.max(FLOOR, filters.apply(f, power)));
      }
    }
    double floor = Arrays.stream(logs).max().orElse(0) - RANGE;
    float[] values = new float[logs.length];
    for (int i = 0; i < values.length; i++) {
      values[i] = (float) ((Math.max(logs[i], floor) + 4) / 4);
    }
    return values;
  }

  MelFilters filters(int bins) {
    return new MelFilters(MelFilters.Scale.SLANEY, melBins, bins, 0, RATE);
  }

  /** Whether anything but silence lies under the window. */
  private boolean cut(float[] samples, int from, double[] window, double[] frame) {
    int length = seconds * RATE;
    boolean sound = false;
    for (int i = 0; i < fft; i++) {
      int at = Math.abs(from + i);
      at = at < length ? at : 2 * (length - 1) - at;
      float sample = at >= 0 && at < samples.length ? samples[at] : 0;
      sound |= sample != 0;
      frame[i] = sample * window[i];
    }
    return sound;
  }
}
