package org.sparkpeft.core.train;

import static org.sparkpeft.core.testing.SharedFiles.find;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.IntStream;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.io.SafetensorsFile;

/** Model directories for tests. */
final class Models {
  private Models() {}

  static ModelDirectory fixture(String name) {
    return ModelDirectory.open(find("golden/architectures/" + name));
  }

  static ModelDirectory miniLm() {
    return ModelDirectory.open(find("models/all-MiniLM-L6-v2"));
  }

  /** MiniLM with the pooler and classifier of the reference numbers, as a second shard. */
  static ModelDirectory miniLmWithHead(Path folder) {
    Path base = find("models/all-MiniLM-L6-v2");
    Path head = find("golden/minilm_head.safetensors");
    try {
      Files.copy(base.resolve("config.json"), folder.resolve("config.json"));
      Files.createSymbolicLink(
          folder.resolve("base.safetensors"), base.resolve("model.safetensors").toAbsolutePath());
      Files.createSymbolicLink(folder.resolve("head.safetensors"), head.toAbsolutePath());
      ObjectNode index = new ObjectMapper().createObjectNode();
      ObjectNode map = index.putObject("weight_map");
      for (String file : List.of("base.safetensors", "head.safetensors")) {
        try (SafetensorsFile tensors = SafetensorsFile.open(folder.resolve(file))) {
          tensors.names().forEach(name -> map.put(name, file));
        }
      }
      Files.writeString(folder.resolve("model.safetensors.index.json"), index.toString());
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return ModelDirectory.open(folder);
  }

  static TaskConfig classification(int labels) {
    List<String> names = IntStream.range(0, labels).mapToObj(i -> "label" + i).toList();
    return new TaskConfig("text-classification", names, "auto", 32);
  }

  /** AdamW as the reference numbers use it: constant rate, no clipping. */
  static TrainConfig referenceTraining() {
    return new TrainConfig(
        1, 0, 4, 1, "adamw", 1e-3, 0.01, 0.9, 0.999, 1e-8, 0, "constant", "federation", 0, false);
  }
}
