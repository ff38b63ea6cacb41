package org.sparkpeft.federated.server;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.stream.Stream;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.io.AtomicFiles;
import org.sparkpeft.core.io.SafetensorsFile;
import org.sparkpeft.core.io.SafetensorsWriter;
import org.sparkpeft.core.io.Sha256;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * Checkpoints of a run, one folder a round: {@code round-NNNN/state.safetensors} with the vectors
 * and {@code state.json} with the rest and the vectors' SHA-256. A folder appears whole or not at
 * all.
 */
public final class CheckpointStore {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final String PREFIX = "round-";
  private static final String PARAMETERS = "parameters";
  private static final String BROADCAST = "broadcast";
  private static final String MOMENT = "moment.";
  private static final String METHOD = "method.";
  private static final int VERSION = 1;

  private final Path folder;
  private final ParameterLayout layout;

  /**
   * @param folder where the rounds' folders are
   * @param layout layout that every vector must have
   */
  public CheckpointStore(Path folder, ParameterLayout layout) {
    this.folder = folder;
    this.layout = layout;
  }

  /** Writes a checkpoint; an older one of the same round is replaced. */
  public void write(Checkpoint checkpoint) {
    AtomicFiles.replaceDirectory(
        folder(checkpoint.round()),
        directory -> {
          Path vectors = directory.resolve("state.safetensors");
          SafetensorsWriter.write(vectors, tensors(checkpoint));
          AtomicFiles.write(directory.resolve("state.json"), json(checkpoint, Sha256.hex(vectors)));
        });
  }

  private SortedMap<String, TensorData> tensors(Checkpoint checkpoint) {
    List<TensorData> tensors = new ArrayList<>();
    tensors.add(tensor(PARAMETERS, checkpoint.server().parameters()));
    tensors.add(tensor(BROADCAST, checkpoint.broadcast()));
    checkpoint
        .server()
        .moments()
        .forEach((name, moment) -> tensors.add(tensor(MOMENT + name, moment)));
    checkpoint
        .method()
        .tensors()
        .forEach((name, tensor) -> tensors.add(tensor.withName(METHOD + name)));
    return TensorData.byName(tensors);
  }

  private TensorData tensor(String name, ParameterVector vector) {
    return TensorData.ofFloats(name, List.of(layout.size()), vector.toArray());
  }

  private byte[] json(Checkpoint checkpoint, String sha256) throws JsonProcessingException {
    ObjectNode node = JSON.createObjectNode();
    node.put("version", VERSION);
    node.put("round", checkpoint.round());
    node.put("layout", Long.toHexString(layout.fingerprint()));
    node.put("sha256", sha256);
    node.set("client_versions", JSON.valueToTree(checkpoint.clientVersions()));
    node.set("client_seen", JSON.valueToTree(checkpoint.clientSeen()));
    node.set("downlink_bytes", JSON.valueToTree(checkpoint.downlinkBytes()));
    return JSON.writerWithDefaultPrettyPrinter()
        .writeValueAsString(node)
        .getBytes(StandardCharsets.UTF_8);
  }

  /**
   * The checkpoint of the last complete round.
   *
   * @return empty if there is none
   * @throws FormatException if it is damaged or belongs to another adapter
   */
  public Optional<Checkpoint> latest() {
    if (!Files.isDirectory(folder)) {
      return Optional.empty();
    }
    try (Stream<Path> folders = Files.list(folder)) {
      return folders
          .map(path -> path.getFileName().toString())
          .filter(name -> name.matches(PREFIX + "\\d{4,9}"))
          .map(name -> Integer.parseInt(name.substring(PREFIX.length())))
          .max(Integer::compare)
          .map(this::read);
    } catch (IOException e) {
      throw new UncheckedIOException("listing " + folder, e);
    }
  }

  /**
   * The checkpoint of one round.
   *
   * @throws FormatException if it is missing, damaged or belongs to another adapter
   */
  public Checkpoint read(int round) {
    Path directory = folder(round);
    Path vectors = directory.resolve("state.safetensors");
    JsonNode node = readJson(directory.resolve("state.json"));
    require(
        directory,
        node.path("version").asInt() == VERSION,
        "version " + node.path("version") + ", this program reads " + VERSION);
    require(directory, node.path("round").asInt() == round, "it says round " + node.path("round"));
    require(
        directory,
        node.path("layout").asText().equals(Long.toHexString(layout.fingerprint())),
        "it was made for another adapter: model, method, target modules or labels differ from the recipe");
    require(
        directory,
        sha256(vectors).equals(node.path("sha256").asText()),
        "state.safetensors does not have the SHA-256 in state.json");
    try (SafetensorsFile file = SafetensorsFile.open(vectors)) {
      SortedMap<String, ParameterVector> moments = new TreeMap<>();
      SortedMap<String, TensorData> method = new TreeMap<>();
      for (String name : file.names()) {
        if (name.startsWith(MOMENT)) {
          moments.put(name.substring(MOMENT.length()), vector(file, name));
        } else if (name.startsWith(METHOD)) {
          String plain = name.substring(METHOD.length());
          method.put(plain, copy(file.tensor(name).withName(plain)));
        }
      }
      List<Long> downlink = new ArrayList<>();
      node.path("downlink_bytes").forEach(bytes -> downlink.add(bytes.asLong()));
      return new Checkpoint(
          round,
          new ServerState(vector(file, PARAMETERS), moments),
          MethodState.of(method),
          vector(file, BROADCAST),
          rounds(node.path("client_versions")),
          rounds(node.path("client_seen")),
          downlink);
    }
  }

  /** The file is unmapped when it is closed. */
  private static TensorData copy(TensorData mapped) {
    ByteBuffer raw = mapped.raw();
    byte[] bytes = new byte[raw.remaining()];
    raw.get(bytes);
    return TensorData.of(mapped.name(), mapped.dtype(), mapped.shape(), ByteBuffer.wrap(bytes));
  }

  private ParameterVector vector(SafetensorsFile file, String name) {
    require(file.path(), file.contains(name), "there is no vector " + name);
    require(
        file.path(),
        file.shape(name).equals(List.of(layout.size())),
        name + " has shape " + file.shape(name));
    return ParameterVector.wrap(layout, file.floats(name));
  }

  private static SortedMap<String, Integer> rounds(JsonNode node) {
    SortedMap<String, Integer> rounds = new TreeMap<>();
    node.fields().forEachRemaining(field -> rounds.put(field.getKey(), field.getValue().asInt()));
    return rounds;
  }

  private static JsonNode readJson(Path file) {
    try {
      return JSON.readTree(Files.readAllBytes(file));
    } catch (IOException e) {
      throw new FormatException(
          file.toString(),
          "cannot be read ("
              + e.getMessage()
              + "); remove its folder to resume from the round before",
          e);
    }
  }

  private static String sha256(Path file) {
    try {
      return Sha256.hex(file);
    } catch (IOException e) {
      throw new FormatException(file.toString(), "cannot be read (" + e.getMessage() + ")", e);
    }
  }

  private static void require(Path path, boolean ok, String found) {
    if (!ok) {
      throw new FormatException(
          path.toString(),
          found + "; remove this checkpoint's folder to resume from the round before");
    }
  }

  private Path folder(int round) {
    return folder.resolve(PREFIX + String.format(Locale.ROOT, "%04d", round));
  }
}
