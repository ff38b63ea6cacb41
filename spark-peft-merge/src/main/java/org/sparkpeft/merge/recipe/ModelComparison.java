package org.sparkpeft.merge.recipe;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.SortedMap;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.io.ByteReader;
import org.sparkpeft.core.io.Sha256;
import org.sparkpeft.core.io.StoredModel;
import org.sparkpeft.core.io.StoredTensor;
import org.sparkpeft.core.io.TensorReader;
import org.sparkpeft.merge.storage.Storage;

/**
 * Whether models go together: shapes alone do not tell a fine-tuned copy from another model of the
 * same size. Those of one base agree in what their configurations say of the computation, and their
 * weights are nearly parallel; those of different bases are nearly orthogonal, and their mean is
 * noise.
 */
final class ModelComparison {
  /** What changes the computation without changing a shape. */
  private static final List<String> CONFIG_KEYS =
      List.of(
          "model_type",
          "vocab_size",
          "num_attention_heads",
          "n_head",
          "num_key_value_heads",
          "hidden_act",
          "activation_function",
          "position_embedding_type",
          "rope_theta");

  /** Fine-tuned copies have 0.9 and more, unrelated weights about 0. */
  private static final double LEAST_COSINE = 0.2;

  private static final int SAMPLED_TENSORS = 64;
  private static final int SAMPLED_ENTRIES = 64;
  private static final int BUFFER = 1 << 20;

  private final RecipeModels models;
  private final boolean mixed;
  private final boolean force;
  private final List<String> notes = new ArrayList<>();
  private final SortedMap<String, String> companions;

  /**
   * @param mixed whether weights of different models are mixed, not just stacked
   * @param force note what would be refused
   */
  ModelComparison(RecipeModels models, boolean mixed, boolean force) {
    this.models = models;
    this.mixed = mixed;
    this.force = force;
    this.companions = chooseCompanions();
  }

  List<String> notes() {
    return List.copyOf(notes);
  }

  SortedMap<String, String> companions() {
    return companions;
  }

  /** Those of the reference; of the first model that has a tokenizer, if the reference has none. */
  private SortedMap<String, String> chooseCompanions() {
    SortedMap<String, String> chosen = new TreeMap<>(models.reference().companions());
    String from = models.referencePath();
    for (String path : models.paths()) {
      SortedMap<String, String> own = models.get(path).companions();
      if (own.keySet().stream().anyMatch(ModelComparison::isTokenizer)
          && chosen.keySet().stream().noneMatch(ModelComparison::isTokenizer)) {
        own.forEach(chosen::putIfAbsent);
        notes.add(from + " has no tokenizer; that of " + path + " is taken");
        from = path;
      }
    }
    Map<String, String> known = new TreeMap<>();
    for (String path : models.paths()) {
      for (Map.Entry<String, String> own : models.get(path).companions().entrySet()) {
        String taken = chosen.get(own.getKey());
        if (taken == null || taken.equals(own.getValue())) {
          continue;
        }
        String hash = known.computeIfAbsent(taken, ModelComparison::hash);
        if (!hash.equals(hash(own.getValue()))) {
          notes.add(
              own.getKey() + " of " + path + " differs from that of " + from + ", which is taken");
        }
      }
    }
    return chosen;
  }

  private static boolean isTokenizer(String file) {
    return !file.equals("generation_config.json") && !file.equals("preprocessor_config.json");
  }

  private static String hash(String location) {
    Sha256 sha = new Sha256();
    try (ByteReader reader = Storage.ANY.open(location)) {
      ByteBuffer buffer = ByteBuffer.allocate(BUFFER);
      for (long at = 0; at < reader.size(); at += buffer.limit()) {
        buffer.clear().limit((int) Math.min(BUFFER, reader.size() - at));
        reader.readFully(buffer, at);
        sha.update(buffer.flip());
      }
    } catch (IOException e) {
      throw new UncheckedIOException("cannot read " + location, e);
    }
    return sha.hex();
  }

  /**
   * Refuses models of another base than the reference.
   *
   * @throws DataException saying what differs; with force that becomes a note
   */
  void requireOneBase() {
    for (String path : models.paths()) {
      if (path.equals(models.referencePath())) {
        continue;
      }
      List<String> differences = configDifferences(path);
      if (differences.isEmpty() && mixed) {
        double cosine = cosine(models.reference(), models.get(path));
        if (cosine < LEAST_COSINE) {
          differences =
              List.of(
                  String.format(
                      Locale.ROOT,
                      "their weights have a cosine of %.2f, fine-tuned copies of one model above"
                          + " 0.9",
                      cosine));
        }
      }
      if (!differences.isEmpty()) {
        String message =
            path
                + " and "
                + models.referencePath()
                + " come from different base models: "
                + String.join("; ", differences);
        if (!force) {
          throw new DataException(message + "; if that is meant, merge with --force");
        }
        notes.add(message);
      }
    }
  }

  private List<String> configDifferences(String path) {
    JsonNode expected = models.reference().config();
    JsonNode other = models.get(path).config();
    List<String> differences = new ArrayList<>();
    for (String key : CONFIG_KEYS) {
      if (expected.has(key) && other.has(key) && !expected.get(key).equals(other.get(key))) {
        differences.add(key + " is " + other.get(key) + " and " + expected.get(key));
      }
    }
    return differences;
  }

  /**
   * Cosine of sampled weights of matrices both models have; 1 if there is nothing to compare.
   * Vectors are left out: scales of any two models are alike.
   */
  private static double cosine(StoredModel reference, StoredModel other) {
    SortedMap<String, StoredTensor> theirs = other.tensors();
    List<StoredTensor> matrices =
        reference.tensors().values().stream()
            .filter(t -> t.dtype().isFloating() && isMatrix(t))
            .filter(t -> isLike(t, theirs.get(t.name())))
            .toList();
    double dot = 0;
    double squaresA = 0;
    double squaresB = 0;
    float[] a = new float[SAMPLED_ENTRIES];
    float[] b = new float[SAMPLED_ENTRIES];
    int step = Math.max(1, matrices.size() / SAMPLED_TENSORS);
    try (TensorReader reader = new TensorReader(Storage.ANY, SAMPLED_ENTRIES, 0)) {
      for (int i = 0; i < matrices.size(); i += step) {
        StoredTensor tensor = matrices.get(i);
        int n = (int) Math.min(SAMPLED_ENTRIES, tensor.elements());
        long from = (tensor.elements() - n) / 2;
        reader.read(tensor, from, n, a);
        reader.read(Objects.requireNonNull(theirs.get(tensor.name())), from, n, b);
        for (int j = 0; j < n; j++) {
          dot += (double) a[j] * b[j];
          squaresA += (double) a[j] * a[j];
          squaresB += (double) b[j] * b[j];
        }
      }
    }
    double norms = Math.sqrt(squaresA) * Math.sqrt(squaresB);
    // Not finite or zero: what is wrong with the values shows when they are merged.
    return norms > 0 && Double.isFinite(norms) ? dot / norms : 1;
  }

  private static boolean isMatrix(StoredTensor tensor) {
    return tensor.shape().stream().filter(length -> length > 1).count() > 1;
  }

  private static boolean isLike(StoredTensor tensor, @Nullable StoredTensor other) {
    return other != null && other.dtype().isFloating() && other.shape().equals(tensor.shape());
  }
}
