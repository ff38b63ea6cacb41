package org.sparkpeft.core.media;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.awt.image.BufferedImage;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.util.Arrays;
import java.util.List;
import javax.imageio.ImageIO;
import javax.sound.sampled.AudioFileFormat;
import javax.sound.sampled.AudioFormat;
import javax.sound.sampled.AudioInputStream;
import javax.sound.sampled.AudioSystem;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.sparkpeft.core.error.DataException;

/** From the bytes of files to a model's numbers, and what is wrong with them, by name. */
class MediaReaderTest {
  private static final String SETTINGS =
      """
      {"do_resize": false, "do_normalize": true, "num_channels": 1, "image_mean": [0.5], "image_std": [0.25]}
      """;

  private static MediaReader images(int channels, String settings) throws IOException {
    return new ImageReader(
        ImageProcessor.of("p", new ObjectMapper().readTree(settings)), List.of(channels, 2, 3));
  }

  /** Levels 0, 1, ... from left to right and from top to bottom. */
  private static byte[] grey(String format, int height, int width) throws IOException {
    BufferedImage image = new BufferedImage(width, height, BufferedImage.TYPE_BYTE_GRAY);
    for (int i = 0; i < height * width; i++) {
      image.getRaster().setSample(i % width, i / width, 0, i % 256);
    }
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    ImageIO.write(image, format, bytes);
    return bytes.toByteArray();
  }

  @Test
  void anImageFileAndItsLevelsAreTheSame() throws IOException {
    MediaReader reader = images(1, SETTINGS);
    MediaReader.Values file = reader.file("a.png", grey("png", 2, 3));
    assertThat(file.shape()).containsExactly(1, 2, 3);
    assertThat(file.values()[5]).isEqualTo((5f / 255 - 0.5f) / 0.25f);
    byte[] levels = {0, 1, 2, 3, 4, 5};
    assertThat(reader.pixels("a", 2, 3, 1, levels).values()).isEqualTo(file.values());
  }

  @Test
  void levelsOfColoursAreBlueFirst() throws IOException {
    MediaReader reader = images(3, "{\"do_resize\": false, \"do_normalize\": false}");
    byte[] levels = new byte[2 * 3 * 4];
    levels[0] = (byte) 255; // blue of the first pixel
    levels[4 + 2] = (byte) 255; // red of the second
    float[] values = reader.pixels("a", 2, 3, 4, levels).values();
    float[] expected = new float[18];
    expected[1] = 1; // red, second pixel
    expected[12] = 1; // blue, first pixel
    assertThat(values).containsExactly(expected);
    assertThatThrownBy(() -> reader.pixels("cell", 2, 3, 2, new byte[12]))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("cell")
        .hasMessageContaining("channels must be 1, 3 or 4");
  }

  @ParameterizedTest
  @ValueSource(strings = {"png", "jpeg", "bmp", "gif"})
  void anImageThatWasCutOffIsRefused(String format) throws IOException {
    byte[] whole = grey(format, 40, 40);
    byte[] half = Arrays.copyOf(whole, whole.length / 2);
    assertThat(Images.decode("whole", whole).getWidth()).isEqualTo(40);
    assertThatThrownBy(() -> Images.decode("half." + format, half))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("half." + format);
  }

  @Test
  void anImageOfAnotherSizeIsRefusedByName() throws IOException {
    MediaReader reader = images(1, SETTINGS);
    assertThatThrownBy(() -> reader.file("wide.png", grey("png", 2, 5)))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("wide.png")
        .hasMessageContaining("1 x 2 x 5")
        .hasMessageContaining("1 x 2 x 3")
        .hasMessageContaining("do_resize");
  }

  private static byte[] wav(int rate, short... samples) throws IOException {
    byte[] data = new byte[2 * samples.length];
    for (int i = 0; i < samples.length; i++) {
      data[2 * i] = (byte) samples[i];
      data[2 * i + 1] = (byte) (samples[i] >> 8);
    }
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    AudioSystem.write(
        new AudioInputStream(
            new ByteArrayInputStream(data),
            new AudioFormat(rate, 16, 1, true, false),
            samples.length),
        AudioFileFormat.Type.WAVE,
        bytes);
    return bytes.toByteArray();
  }

  @Test
  void soundOfALowerRateIsInterpolatedAndOfAHigherOneRefused() throws IOException {
    MediaReader reader = new SoundReader(16_000, Recording::toArray, List.of());
    short half = 1 << 14;
    MediaReader.Values slow = reader.file("slow.wav", wav(8_000, (short) 0, half));
    assertThat(slow.values()).containsExactly(0, 0.25f, 0.5f, 0.5f);
    assertThat(slow.shape()).containsExactly(4);
    byte[] fast = wav(44_100, half, half);
    assertThatThrownBy(() -> reader.file("fast.wav", fast))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("fast.wav")
        .hasMessageContaining("44100")
        .hasMessageContaining("16000");
  }

  @Test
  void silenceOfNoLengthIsRefused() throws IOException {
    MediaReader reader = new SoundReader(16_000, Recording::toArray, List.of());
    byte[] empty = wav(16_000);
    assertThatThrownBy(() -> reader.file("empty.wav", empty))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("empty.wav");
    assertThatThrownBy(() -> reader.file("none.wav", new byte[0]))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("none.wav");
  }
}
