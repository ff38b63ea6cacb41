package org.sparkpeft.core.media;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.List;
import java.util.Set;
import org.sparkpeft.core.model.FrameBatch;

/**
 * The log-mel spectrogram of {@code ASTFeatureExtractor}, after Kaldi's filter banks: windows of 25
 * ms every 10 ms, freed of their mean, pre-emphasised by 0.97, Hann-weighted; then padded by zeros
 * or cut to a fixed number of frames and normalised to {@code (x - mean) / (2 std)}.
 *
 * @param melBins filters
 * @param maxFrames frames of a result
 * @param mean subtracted
 * @param std half of what is divided by
 * @param normalize whether {@code mean} and {@code std} are applied
 */
public record AstFeatures(int melBins, int maxFrames, double mean, double std, boolean normalize) {
  private static final int RATE = 16_000;
  private static final int WINDOW = 400;
  private static final int HOP = 160;
  private static final int FFT = 512;
  private static final double FLOOR = 1.192092955078125e-7;
  private static final double EMPHASIS = 0.97;
  private static final int MOST = 1 << 16;

  /**
   * Reads {@code preprocessor_config.json}.
   *
   * @param source where the settings came from, for messages
   * @throws org.sparkpeft.core.error.FormatException if a setting is malformed or not supported
   */
  public static AstFeatures of(String source, JsonNode json) {
    Settings settings = new Settings(source, json);
    settings.only("sampling_rate", Set.of(Integer.toString(RATE)));
    settings.only("feature_size", Set.of("1"));
    settings.only("padding_value", Set.of("0.0", "0"));
    return new AstFeatures(
        settings.count("num_mel_bins", 128, FFT / 2),
        settings.count("max_length", 1024, MOST),
        settings.number("mean", -4.2677393),
        settings.positive("std", 4.5689974),
        settings.flag("do_normalize", true));
  }

  /**
   * Recordings as a model reads them.
   *
   * @throws org.sparkpeft.core.error.DataException if a rate is not 16 kHz
   */
  public FrameBatch batch(List<Recording> recordings) {
    return FrameBatch.of(recordings.stream().map(this::of).toList(), maxFrames, melBins);
  }

  /** {@code [maxFrames, melBins]}. */
  float[] of(Recording recording) {
    float[] values = logMel(recording);
    if (normalize) {
      for (int i = 0; i < values.length; i++) {
        values[i] = (float) ((values[i] - mean) / (2 * std));
      }
    }
    return values;
  }

  /** {@code [maxFrames, melBins]} before normalisation, zero where the recording has ended. */
  float[] logMel(Recording recording) {
    recording.requireRate(RATE);
    float[] samples = recording.samples();
    int frames = samples.length < WINDOW ? 0 : 1 + (samples.length - WINDOW) / HOP;
    float[] values = new float[maxFrames * melBins];
    Fourier fourier = new Fourier(FFT);
    MelFilters filters = new MelFilters(MelFilters.Scale.KALDI, melBins, fourier.bins(), 20, RATE);
    double[] window = window();
    double[] frame = new double[FFT];
    double[] power = new double[fourier.bins()];
    for (int t = 0; t < Math.min(frames, maxFrames); t++) {
      emphasised(samples, t * HOP, window, frame);
      fourier.power(frame, power);
      for (int f = 0; f < melBins; f++) {
        values[t * melBins + f] = (float) Math.log(Math.max(FLOOR, filters.apply(f, power)));
      }
    }
    return values;
  }

  private static void emphasised(float[] samples, int from, double[] window, double[] frame) {
    double sum = 0;
    for (int i = 0; i < WINDOW; i++) {
      sum += samples[from + i];
    }
    double average = sum / WINDOW;
    double before = samples[from] - average;
    for (int i = 0; i < WINDOW; i++) {
      double now = samples[from + i] - average;
      frame[i] = (now - EMPHASIS * before) * window[i];
      before = now;
    }
  }

  /** Hann's window, zero at both ends. */
  private static double[] window() {
    double[] window = new double[WINDOW];
    for (int i = 0; i < WINDOW; i++) {
      window[i] = 0.5 - 0.5 * Math.cos(2 * Math.PI * i / (WINDOW - 1));
    }
    return window;
  }
}
