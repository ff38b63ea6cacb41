package org.sparkpeft.core.media;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import java.util.List;
import java.util.function.Function;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.model.InputForm;

/**
 * Recordings for a model. One of a lower rate is brought to the model's by linear interpolation;
 * one of a higher rate is refused, since that needs a filter.
 *
 * @param rate samples in a second that the front end expects
 * @param features the front end
 * @param wanted {@code [frames, features]}; empty where the model reads samples of any number
 */
record SoundReader(int rate, Function<Recording, float[]> features, List<Integer> wanted)
    implements MediaReader {
  private static final int RATE = 16_000;

  /** The front end that belongs to the architecture. */
  static SoundReader of(ModelDirectory model, InputForm form) {
    String type = model.config().path("model_type").asText();
    String source = model.path().resolve(ModelDirectory.PREPROCESSOR).toString();
    // Without a file, Hugging Face's defaults.
    JsonNode settings = model.preprocessor().orElse(JsonNodeFactory.instance.objectNode());
    SoundReader reader =
        switch (type) {
          case "kwt" -> {
            KeywordFeatures keywords = KeywordFeatures.of(model);
            yield new SoundReader(keywords.rate(), keywords::of, keywords.shape());
          }
          case "audio-spectrogram-transformer" -> {
            AstFeatures ast = AstFeatures.of(source, settings);
            yield new SoundReader(RATE, ast::of, List.of(ast.maxFrames(), ast.melBins()));
          }
          case "whisper" -> {
            WhisperFeatures whisper = WhisperFeatures.of(source, settings);
            yield new SoundReader(RATE, whisper::of, List.of(whisper.frames(), whisper.melBins()));
          }
          case "wav2vec2" -> {
            WaveFeatures waves = WaveFeatures.of(source, settings);
            yield new SoundReader(waves.rate(), waves::of, List.of());
          }
          default -> throw new FormatException(source, "no front end for model_type " + type);
        };
    if (!reader.wanted.equals(form.shape())) {
      throw new FormatException(
          source,
          "makes %s (frames, features), the model reads %s"
              .formatted(InputForm.shown(reader.wanted), InputForm.shown(form.shape())));
    }
    return reader;
  }

  @Override
  public Values file(String source, byte[] bytes) {
    Recording recording = Recording.wav(source, bytes);
    if (recording.rate() > rate) {
      throw new DataException(
          "%s: has %d samples in a second, the model hears %d; convert it to that rate"
              .formatted(source, recording.rate(), rate));
    }
    try {
      float[] values = features.apply(recording.atRate(rate));
      int[] shape =
          wanted.isEmpty()
              ? new int[] {values.length}
              : wanted.stream().mapToInt(Integer::intValue).toArray();
      return new Values(values, shape);
    } catch (DataException e) {
      throw new DataException(source + ": " + e.getMessage(), e);
    }
  }

  @Override
  public Values pixels(String source, int height, int width, int channels, byte[] levels) {
    throw new DataException(source + ": is an image, and the model reads sound");
  }
}
