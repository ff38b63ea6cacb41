package org.sparkpeft.core.media;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.sparkpeft.core.testing.SharedFiles.find;
import static org.sparkpeft.core.testing.SharedFiles.floats;
import static org.sparkpeft.core.testing.SharedFiles.json;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.util.Arrays;
import java.util.Iterator;
import java.util.zip.ZipEntry;
import java.util.zip.ZipFile;
import javax.sound.sampled.AudioFileFormat;
import javax.sound.sampled.AudioFormat;
import javax.sound.sampled.AudioInputStream;
import javax.sound.sampled.AudioSystem;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.Test;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.io.SafetensorsFile;

/** Recordings and features against Hugging Face's extractors and the keyword transformer's. */
class SoundTest {
  private static final ObjectMapper JSON = new ObjectMapper();

  @Test
  void fourierIsTheDefinition() {
    for (int size : new int[] {1, 2, 7, 12, 400, 486}) {
      double[] signal = new double[size];
      for (int i = 0; i < size; i++) {
        signal[i] = Math.sin(i * 1.3) + (i * 37 % 11) - 4;
      }
      Fourier fourier = new Fourier(size);
      double[] power = new double[fourier.bins()];
      fourier.power(signal, power);
      for (int k = 0; k < power.length; k++) {
        double re = 0;
        double im = 0;
        for (int i = 0; i < size; i++) {
          double angle = 2 * Math.PI * ((long) i * k % size) / size;
          re += signal[i] * Math.cos(angle);
          im -= signal[i] * Math.sin(angle);
        }
        assertThat(power[k]).isCloseTo(re * re + im * im, Offset.offset(1e-8 * (1 + size * size)));
      }
    }
  }

  @Test
  void astFeatures() throws IOException {
    JsonNode golden =
        json("golden/architectures/ast-audio-classification/golden.json").get("feature_extractor");
    for (String key : new String[] {"fixture_16_bins_24_frames", "default_128_bins_1024_frames"}) {
      JsonNode one = golden.get(key);
      AstFeatures features =
          AstFeatures.of(
              "settings",
              JSON.createObjectNode()
                  .put("num_mel_bins", one.get("num_mel_bins").intValue())
                  .put("max_length", one.get("max_length").intValue()));
      compare(features.logMel(tone()), one.get("fbank_before_normalisation"), 2e-4f);
      compare(features.of(tone()), one.get("input_values"), 2e-5f);
    }
  }

  private static void compare(float[] values, JsonNode expected, float tolerance) {
    int width = expected.get("shape").get(1).intValue();
    assertThat(values).hasSize(expected.get("shape").get(0).intValue() * width);
    double sum = 0;
    for (float value : values) {
      sum += value;
    }
    assertThat(sum).isCloseTo(expected.get("sum").doubleValue(), Offset.offset(0.05));
    for (Iterator<String> frames = expected.get("frames").fieldNames(); frames.hasNext(); ) {
      String frame = frames.next();
      int at = Integer.parseInt(frame) * width;
      assertThat(Arrays.copyOfRange(values, at, at + width))
          .as("frame " + frame)
          .usingComparatorWithPrecision(tolerance)
          .containsExactly(floats(expected.get("frames").get(frame)));
    }
  }

  @Test
  void whisperFeatures() {
    JsonNode golden = json("golden/architectures/building-blocks/whisper_features.json");
    WhisperFeatures features = WhisperFeatures.of("settings", JSON.createObjectNode());
    assertThat(features.frames()).isEqualTo(3000);
    float[] values = features.of(tone());
    JsonNode expected = golden.get("log_mel");
    double sum = 0;
    for (float value : values) {
      sum += value;
    }
    assertThat(sum).isCloseTo(expected.get("sum").doubleValue(), Offset.offset(0.5));
    for (Iterator<String> frames = expected.get("frames").fieldNames(); frames.hasNext(); ) {
      String frame = frames.next();
      int at = Integer.parseInt(frame) * 80;
      assertThat(Arrays.copyOfRange(values, at, at + 80))
          .as("frame " + frame)
          .usingComparatorWithPrecision(1e-4f)
          .containsExactly(floats(expected.get("frames").get(frame)));
    }
    MelFilters filters = features.filters(201);
    JsonNode rows = golden.get("mel_filters").get("rows");
    for (Iterator<String> bins = rows.fieldNames(); bins.hasNext(); ) {
      String bin = bins.next();
      for (int f = 0; f < filters.count(); f++) {
        assertThat(filters.weight(f, Integer.parseInt(bin)))
            .isCloseTo(rows.get(bin).get(f).doubleValue(), Offset.offset(1e-7));
      }
    }
  }

  @Test
  void keywordFeatures() throws IOException {
    ModelDirectory model = ModelDirectory.open(find("models/kwt-1"));
    KeywordFeatures features = KeywordFeatures.of(model);
    try (SafetensorsFile golden =
        SafetensorsFile.open(model.path().resolve("golden_features.safetensors"))) {
      for (String name : new String[] {"yes_1000ms", "no_1000ms", "silence_1000ms"}) {
        byte[] bytes = Files.readAllBytes(model.path().resolve("samples/" + name + ".wav"));
        Recording recording = Recording.wav(name, bytes);
        assertThat(recording.rate()).isEqualTo(16_000);
        assertThat(features.of(recording))
            .as(name)
            .usingComparatorWithPrecision(1e-3f)
            .containsExactly(golden.floats(name));
      }
    }
  }

  @Test
  void recordingsAtHalfTheRateAreInterpolated() throws IOException {
    ModelDirectory model = ModelDirectory.open(find("models/kwt-1"));
    KeywordFeatures features = KeywordFeatures.of(model);
    try (ZipFile zip = new ZipFile(find("data/fsdd/recordings.zip").toFile());
        SafetensorsFile golden =
            SafetensorsFile.open(model.path().resolve("golden_features.safetensors"))) {
      for (String name : new String[] {"3_jackson_0", "7_theo_12"}) {
        ZipEntry entry =
            zip.stream().filter(e -> e.getName().endsWith(name + ".wav")).findFirst().orElseThrow();
        byte[] bytes;
        try (InputStream stream = zip.getInputStream(entry)) {
          bytes = stream.readAllBytes();
        }
        Recording recording = Recording.wav(name, bytes);
        assertThat(recording.rate()).isEqualTo(8000);
        assertThat(features.of(recording.atRate(features.rate())))
            .as(name)
            .usingComparatorWithPrecision(1e-3f)
            .containsExactly(golden.floats(name));
      }
    }
  }

  @Test
  void readsWholeNumbersOfAllSizes() {
    byte[] sixteen = wav(new byte[] {0, 0x40, 0, (byte) 0xc0, (byte) 0xff, 0x7f, 0, 0}, 16, 1);
    assertThat(Recording.wav("w", sixteen).toArray())
        .containsExactly(0.5f, -0.5f, 32767 / 32768f, 0);
    byte[] stereo = wav(new byte[] {0, 0x40, 0, 0x20, 0, (byte) 0xc0, 0, 0}, 16, 2);
    assertThat(Recording.wav("w", stereo).toArray()).containsExactly(0.375f, -0.25f);
    byte[] three = wav(new byte[] {0, 0, 0x40, 1, 0, (byte) 0xc0}, 24, 1);
    assertThat(Recording.wav("w", three).toArray())
        .containsExactly(0.5f, (float) (-0.5 + 1 / 8388608.0));
    byte[] eight = wav(new byte[] {(byte) 192, 0}, 8, 1);
    assertThat(Recording.wav("w", eight).toArray()).containsExactly(0.5f, -1);
  }

  @Test
  void interpolatesToAnotherRate() {
    Recording slow = Recording.of(new float[] {0, 1, -1}, 8000);
    assertThat(slow.atRate(16_000).toArray()).containsExactly(0, 0.5f, 1, 0, -1, -1);
    assertThat(slow.atRate(16_000).rate()).isEqualTo(16_000);
    assertThatThrownBy(() -> AstFeatures.of("s", JSON.createObjectNode()).of(slow))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("16000")
        .hasMessageContaining("8000");
  }

  @Test
  void wavesAreNormalised() {
    Recording recording = Recording.of(new float[] {0.5f, -0.25f, 0.5f}, 16_000);
    WaveFeatures features = WaveFeatures.of("s", JSON.createObjectNode());
    float up = (float) (0.25 / Math.sqrt(0.125 + 1e-7)); // mean 1/4, variance 1/8
    assertThat(features.of(recording))
        .usingComparatorWithPrecision(1e-6f)
        .containsExactly(up, -2 * up, up);
    WaveFeatures plain = WaveFeatures.of("s", JSON.createObjectNode().put("do_normalize", false));
    assertThat(plain.of(recording)).containsExactly(0.5f, -0.25f, 0.5f);
    assertThatThrownBy(() -> Recording.of(new float[] {1, Float.NaN}, 16_000))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("sample 1");
  }

  @Test
  void damagedRecordingsAreDataErrors() {
    byte[] good = wav(new byte[64], 16, 1);
    assertThatThrownBy(() -> Recording.wav("text", new byte[] {1, 2, 3}))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("text");
    assertThatThrownBy(() -> Recording.wav("short", Arrays.copyOf(good, good.length - 10)))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("cut off");
    assertThatThrownBy(() -> Recording.wav("empty", wav(new byte[0], 16, 1)))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("empty");
    for (int i = 0; i < good.length; i++) {
      for (int bit = 0; bit < 8; bit++) {
        byte[] broken = good.clone();
        broken[i] ^= (byte) (1 << bit);
        try {
          Recording.wav("broken", broken);
        } catch (DataException e) {
          assertThat(e).hasMessageContaining("broken");
        }
      }
    }
  }

  @Test
  void refusesSettingsByName() {
    assertThatThrownBy(
            () -> AstFeatures.of("s", JSON.createObjectNode().put("sampling_rate", 8000)))
        .isInstanceOf(FormatException.class)
        .hasMessageContaining("sampling_rate");
    assertThatThrownBy(() -> WhisperFeatures.of("s", JSON.createObjectNode().put("dither", 1.0)))
        .isInstanceOf(FormatException.class)
        .hasMessageContaining("dither");
  }

  /** The tone of the reference numbers. */
  private static Recording tone() {
    float[] samples = new float[16_000];
    for (int n = 0; n < samples.length; n++) {
      samples[n] =
          (float)
              (0.5 * Math.sin(2 * Math.PI * 440 * n / 16_000)
                  + 0.25 * Math.sin(2 * Math.PI * 880 * n / 16_000));
    }
    return Recording.of(samples, 16_000);
  }

  private static byte[] wav(byte[] data, int bits, int channels) {
    AudioFormat format = new AudioFormat(16_000, bits, channels, bits > 8, false);
    int frame = format.getFrameSize();
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    try (AudioInputStream stream =
        new AudioInputStream(new ByteArrayInputStream(data), format, data.length / frame)) {
      AudioSystem.write(stream, AudioFileFormat.Type.WAVE, bytes);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return bytes.toByteArray();
  }
}
