package org.sparkpeft.core.media;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.awt.image.BufferedImage;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import javax.imageio.ImageIO;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.model.PixelBatch;

/** Images against Pillow's numbers, by {@code resize.py}, and against arithmetic. */
class ImageProcessorTest {
  private static final ObjectMapper JSON = new ObjectMapper();

  @Test
  void resizesAsPillowDoes() throws IOException {
    JsonNode golden = golden();
    for (JsonNode one : golden.get("cases")) {
      int width = one.get("width").intValue();
      int height = one.get("height").intValue();
      ObjectNode settings = plain();
      settings.put("do_resize", true).put("resample", one.get("resample").intValue());
      settings.putObject("size").put("height", height).put("width", width);
      BufferedImage resized = ImageProcessor.of("settings", settings).shaped(pattern(30, 20));
      assertThat(new int[] {resized.getWidth(), resized.getHeight()})
          .containsExactly(width, height);
      for (int i = 0; i < one.get("rgb").size(); i++) {
        int rgb = resized.getRGB(i / 3 % width, i / 3 / width);
        int level = rgb >> (16 - 8 * (i % 3)) & 0xff;
        assertThat(level)
            .as("filter %s to %d x %d, number %d", one.get("resample"), width, height, i)
            .isEqualTo(one.get("rgb").get(i).intValue());
      }
    }
  }

  @Test
  void greyIsPillowsLuminance() throws IOException {
    JsonNode grey = golden().get("grey");
    PixelBatch batch =
        ImageProcessor.of("settings", plain().put("num_channels", 1))
            .batch(List.of(pattern(30, 20)));
    assertThat(batch.channels()).isEqualTo(1);
    BufferedImage image =
        ImageProcessor.of("settings", plain().put("num_channels", 1)).shaped(pattern(30, 20));
    for (int i = 0; i < grey.size(); i++) {
      assertThat(image.getRGB(i % 30, i / 30) & 0xff).isEqualTo(grey.get(i).intValue());
    }
  }

  @Test
  void greyFilesKeepTheirLevels() throws IOException {
    BufferedImage image = new BufferedImage(256, 1, BufferedImage.TYPE_BYTE_GRAY);
    for (int x = 0; x < 256; x++) {
      image.getRaster().setSample(x, 0, 0, x);
    }
    BufferedImage read =
        ImageProcessor.of("settings", plain()).shaped(Images.decode("image", png(image)));
    for (int x = 0; x < 256; x++) {
      assertThat(read.getRGB(x, 0) & 0xffffff).isEqualTo(0x010101 * x);
    }
  }

  @Test
  void rescalesAndNormalisesEachChannel() {
    ObjectNode settings = plain();
    settings.put("do_rescale", true).put("do_normalize", true);
    settings.putArray("image_mean").add(0.5).add(0.25).add(0);
    settings.putArray("image_std").add(0.5).add(0.25).add(2);
    BufferedImage image = new BufferedImage(2, 1, BufferedImage.TYPE_INT_RGB);
    image.setRGB(0, 0, 0xff0033);
    image.setRGB(1, 0, 0x00ff00);
    PixelBatch batch = ImageProcessor.of("settings", settings).batch(List.of(image));
    assertThat(new int[] {batch.imageHeight(), batch.imageWidth()}).containsExactly(1, 2);
    assertThat(values(settings, image))
        .usingComparatorWithPrecision(1e-6f)
        .containsExactly(1, -1, -1, 3, 0.1f, 0);
  }

  private static float[] values(ObjectNode settings, BufferedImage image) {
    return ImageProcessor.of("settings", settings).numbers(image);
  }

  @Test
  void shortestEdgeAndCentre() {
    ObjectNode settings = plain();
    settings.put("do_resize", true).put("do_center_crop", true).put("crop_size", 10);
    settings.putObject("size").put("shortest_edge", 10);
    BufferedImage cut = ImageProcessor.of("settings", settings).shaped(pattern(31, 20));
    assertThat(new int[] {cut.getWidth(), cut.getHeight()}).containsExactly(10, 10);
    settings.put("do_resize", false).put("crop_size", 22);
    BufferedImage framed = ImageProcessor.of("settings", settings).shaped(pattern(30, 20));
    assertThat(framed.getRGB(0, 0) & 0xffffff).isZero();
    assertThat(framed.getRGB(3, 5)).isEqualTo(pattern(30, 20).getRGB(7, 4));
  }

  @Test
  void imagesOfABatchMustHaveOneSize() {
    ImageProcessor processor = ImageProcessor.of("settings", plain());
    assertThatThrownBy(() -> processor.batch(List.of(pattern(4, 3), pattern(4, 2))))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("image 1 is 2 x 4 and the first 3 x 4");
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "{\"do_flip_channel_order\": true}",
        "{\"crop_pct\": 0.9}",
        "{\"resample\": 0}",
        "{\"size\": {\"longest_edge\": 3}}",
        "{\"size\": 0}",
        "{\"num_channels\": 2}",
        "{\"image_std\": [0, 1, 1]}",
        "{\"image_mean\": [0, 1]}",
        "{\"rescale_factor\": 0}",
        "{\"do_resize\": \"yes\"}"
      })
  void refusesSettingsByName(String json) throws IOException {
    JsonNode settings = JSON.readTree(json);
    assertThatThrownBy(() -> ImageProcessor.of("settings", settings))
        .isInstanceOf(FormatException.class)
        .hasMessageContaining(settings.fieldNames().next());
  }

  @Test
  void damagedImagesAreDataErrors() throws IOException {
    byte[] png = png(pattern(30, 20));
    assertThatThrownBy(() -> Images.decode("no image", "hello".getBytes("UTF-8")))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("no image");
    assertThatThrownBy(() -> Images.decode("half", Arrays.copyOf(png, 40)))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("half");
    byte[] huge = png.clone();
    Arrays.fill(huge, 16, 24, (byte) 0x3f); // width and height
    assertThatThrownBy(() -> Images.decode("huge", huge))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("at most");
    for (int i = 0; i < png.length; i++) {
      byte[] broken = png.clone();
      broken[i] ^= (byte) 0x55;
      try {
        Images.decode("broken", broken);
      } catch (DataException e) {
        assertThat(e).hasMessageContaining("broken");
      }
    }
  }

  private static ObjectNode plain() {
    return JSON.createObjectNode()
        .put("do_resize", false)
        .put("do_rescale", false)
        .put("do_normalize", false);
  }

  private static BufferedImage pattern(int width, int height) {
    BufferedImage image = new BufferedImage(width, height, BufferedImage.TYPE_INT_RGB);
    for (int y = 0; y < height; y++) {
      for (int x = 0; x < width; x++) {
        int red = (x * 7 + y * 13) % 256;
        int green = (x * x + 3 * y) % 256;
        int blue = x * y * 5 % 256;
        image.setRGB(x, y, red << 16 | green << 8 | blue);
      }
    }
    return image;
  }

  private static byte[] png(BufferedImage image) throws IOException {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    ImageIO.write(image, "png", bytes);
    return bytes.toByteArray();
  }

  private static JsonNode golden() throws IOException {
    try (InputStream stream =
        Objects.requireNonNull(
            ImageProcessorTest.class.getResourceAsStream("/media/resize.json"))) {
      return JSON.readTree(stream);
    }
  }
}
