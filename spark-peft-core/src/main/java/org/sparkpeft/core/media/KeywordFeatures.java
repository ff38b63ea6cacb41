package org.sparkpeft.core.media;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.io.SafetensorsFile;
import org.sparkpeft.core.model.FrameBatch;

/**
 * Mel-frequency cepstral coefficients as a keyword transformer was trained with them. Its directory
 * holds the window, the two halves of the Fourier transform, the mel filters and the cosine
 * transform as tensors, {@code frontend.safetensors}; {@code config.json} holds the rest.
 */
public final class KeywordFeatures {
  private static final String FILE = "frontend.safetensors";
  private static final int MOST = 1 << 20;

  private final int rate;
  private final int samples;
  private final int window;
  private final int stride;
  private final int frames;
  private final int mels;
  private final int features;
  private final int bins;
  private final double floor;
  private final Map<String, float[]> tensors = new HashMap<>();

  private KeywordFeatures(Settings settings, SafetensorsFile file) {
    this.rate = settings.count("sample_rate", 16_000, MOST);
    this.samples = settings.count("num_samples", 16_000, MOST);
    this.window = settings.count("window_samples", 480, MOST);
    this.stride = settings.count("stride_samples", 160, MOST);
    this.frames = settings.count("num_frames", 98, MOST);
    this.mels = settings.count("mel_bins", 80, MOST);
    this.features = settings.count("num_features", 40, MOST);
    this.floor = settings.positive("log_floor", 1e-12);
    if ((long) (frames - 1) * stride + window > samples) {
      throw new FormatException(
          settings.source(),
          "%d frames of %d samples, %d apart, do not fit into %d samples"
              .formatted(frames, window, stride, samples));
    }
    this.bins = file.contains("dft_a") ? file.shape("dft_a").get(0) : 0;
    read(file, "window", List.of(window));
    read(file, "dft_a", List.of(bins, window));
    read(file, "dft_b", List.of(bins, window));
    read(file, "mel", List.of(mels, bins));
    read(file, "dct", List.of(features, mels));
  }

  private void read(SafetensorsFile file, String name, List<Integer> shape) {
    if (!file.contains(name) || !file.shape(name).equals(shape)) {
      throw new FormatException(
          file.path().toString(),
          name
              + " must have shape "
              + shape
              + ", got "
              + (file.contains(name) ? file.shape(name) : "no such tensor"));
    }
    tensors.put(name, file.floats(name));
  }

  /**
   * @throws DataException if the directory has no front end
   * @throws FormatException if its tensors do not fit the configuration
   */
  public static KeywordFeatures of(ModelDirectory model) {
    Path path = model.path().resolve(FILE);
    if (!Files.isRegularFile(path)) {
      throw new DataException(
          model.path() + " has no " + FILE + ", which says how sound becomes numbers");
    }
    Settings settings =
        new Settings(model.path().resolve("config.json").toString(), model.config());
    try (SafetensorsFile file = SafetensorsFile.open(path)) {
      return new KeywordFeatures(settings, file);
    }
  }

  /** {@code [frames, features]} of a recording. */
  List<Integer> shape() {
    return List.of(frames, features);
  }

  /** Samples in a second that recordings must have; see {@link Recording#atRate}. */
  public int rate() {
    return rate;
  }

  /**
   * Recordings as a model reads them; short ones are padded by silence, long ones cut.
   *
   * @throws DataException if a rate is another
   */
  public FrameBatch batch(List<Recording> recordings) {
    return FrameBatch.of(recordings.stream().map(this::of).toList(), frames, features);
  }

  /** {@code [frames, features]}. */
  float[] of(Recording recording) {
    recording.requireRate(rate);
    float[] sound = Arrays.copyOf(recording.samples(), samples);
    float[] values = new float[frames * features];
    double[] frame = new double[window];
    for (int t = 0; t < frames; t++) {
      for (int i = 0; i < window; i++) {
        frame[i] = (double) sound[t * stride + i] * tensor("window")[i];
      }
      double[] first = product(tensor("dft_a"), frame);
      double[] second = product(tensor("dft_b"), frame);
      for (int i = 0; i < bins; i++) {
        first[i] = Math.sqrt(first[i] * first[i] + second[i] * second[i]);
      }
      double[] logs = product(tensor("mel"), first);
      for (int i = 0; i < mels; i++) {
        logs[i] = Math.log(Math.max(logs[i], floor));
      }
      double[] cepstrum = product(tensor("dct"), logs);
      for (int i = 0; i < features; i++) {
        values[t * features + i] = (float) cepstrum[i];
      }
    }
    return values;
  }

  private float[] tensor(String name) {
    return Objects.requireNonNull(tensors.get(name));
  }

  /** A matrix {@code [rows, x.length]} times a vector. */
  private static double[] product(float[] matrix, double[] x) {
    double[] y = new double[matrix.length / x.length];
    for (int row = 0; row < y.length; row++) {
      double sum = 0;
      for (int i = 0; i < x.length; i++) {
        sum += matrix[row * x.length + i] * x[i];
      }
      y[row] = sum;
    }
    return y;
  }
}
