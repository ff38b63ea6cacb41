package org.sparkpeft.core.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.sparkpeft.core.testing.SharedFiles.find;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.io.WeightSource;
import org.sparkpeft.core.nn.Activation;
import org.sparkpeft.core.nn.LayerNorm;

/**
 * Masked language heads under the names that Hugging Face's checkpoints use, over the encoders of
 * the golden classifiers, whose word embeddings they share.
 */
class WordHeadTest {
  private static final ComputeDevice CPU = ComputeDevice.cpu();

  @TempDir Path temp;

  @ParameterizedTest
  @CsvSource({
    "roberta, lm_head.dense, lm_head.layer_norm, lm_head.decoder, lm_head.bias",
    "mpnet, lm_head.dense, lm_head.layer_norm, lm_head.decoder, lm_head.bias",
    "distilbert, vocab_transform, vocab_layer_norm, vocab_projector, vocab_projector.bias",
    "electra, generator_predictions.dense, generator_predictions.LayerNorm, generator_lm_head,"
        + " generator_lm_head.bias",
    "deberta-v2, cls.predictions.transform.dense, cls.predictions.transform.LayerNorm,"
        + " cls.predictions.decoder, cls.predictions.bias"
  })
  void sharesTheWordEmbeddings(
      String family, String dense, String norm, String decoder, String bias) {
    ModelDirectory classifier =
        ModelDirectory.open(find("golden/architectures/" + family + "-sequence-classification"));
    List<TensorData> tensors = new ArrayList<>();
    float[] words = new float[0];
    int size = 0;
    try (WeightSource weights = classifier.weights()) {
      for (String name : weights.names()) {
        float[] values = weights.floats(name);
        tensors.add(TensorData.ofFloats(name, weights.shape(name), values));
        if (name.endsWith("word_embeddings.weight")) {
          words = values;
          size = weights.shape(name).get(1);
        }
      }
    }
    int vocabulary = words.length / size;
    Random random = new Random(7);
    float[] denseWeight = add(tensors, random, dense + ".weight", List.of(size, 32));
    float[] denseBias = add(tensors, random, dense + ".bias", List.of(size));
    float[] normWeight = add(tensors, random, norm + ".weight", List.of(size));
    float[] normBias = add(tensors, random, norm + ".bias", List.of(size));
    float[] wordBias = add(tensors, random, bias, List.of(vocabulary));
    ModelDirectory directory =
        ModelDirectory.save(
            temp.resolve(family), classifier.config(), TensorData.byName(tensors), List.of());
    CPU.bindThread();
    TokenBatch batch = TokenBatch.of(List.of(new int[] {5, 23, 144, 3}), 1);
    try (Backbone model = Backbones.load(directory, CPU, HeadConfig.LANGUAGE);
        NDManager step = CPU.newManager()) {
      assertThat(model.tied()).containsOnlyKeys(decoder);
      assertThat(model.modules().structure().output()).isEqualTo(decoder);
      NDArray hidden = model.forward(step, batch, Tuning.NONE);
      NDArray logits = model.logits(model.features(step, hidden, batch, Tuning.NONE), Tuning.NONE);
      NDArray x =
          hidden
              .reshape(4, 32)
              .matMul(step.create(denseWeight, new Shape(size, 32)).transpose())
              .add(step.create(denseBias));
      float epsilon =
          (float) classifier.config().path("layer_norm_eps").asDouble(1e-12); // DistilBERT's
      x =
          LayerNorm.of(
              Activation.GELU.apply(x), step.create(normWeight), step.create(normBias), epsilon);
      NDArray expected =
          x.matMul(step.create(words, new Shape(vocabulary, size)).transpose())
              .add(step.create(wordBias));
      assertThat(logits.getShape()).isEqualTo(new Shape(1, 4, vocabulary));
      assertThat(logits.toFloatArray())
          .containsExactly(expected.toFloatArray(), Offset.offset(1e-5f));
    }
  }

  private static float[] add(
      List<TensorData> tensors, Random random, String name, List<Integer> shape) {
    float[] values = new float[shape.stream().reduce(1, Math::multiplyExact)];
    for (int i = 0; i < values.length; i++) {
      values[i] = (float) random.nextGaussian() / 4;
    }
    tensors.add(TensorData.ofFloats(name, shape, values));
    return values;
  }
}
