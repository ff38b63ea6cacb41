package org.sparkpeft.federated.cli;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.io.AdapterDirectory;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.io.SafetensorsFile;
import org.sparkpeft.core.io.WeightSource;
import org.sparkpeft.core.model.Backbones;
import org.sparkpeft.core.model.HeadConfig;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethod;
import org.sparkpeft.core.peft.PeftMethods;
import org.sparkpeft.core.peft.TargetModules;
import org.sparkpeft.federated.client.TunedAdapter;
import org.sparkpeft.federated.config.Recipe;
import org.sparkpeft.federated.config.RecipeReader;
import org.sparkpeft.merge.adapter.AdapterFile;
import org.sparkpeft.merge.compress.PayloadStatistics;

/** Describes files of this project's kinds, without loading weights. */
final class Inspection {
  private static final ObjectMapper JSON = new ObjectMapper();

  private final boolean listTensors;

  /**
   * @param listTensors whether every tensor is listed, or only their number
   */
  Inspection(boolean listTensors) {
    this.listTensors = listTensors;
  }

  /**
   * Describes a file or folder by what is in it.
   *
   * @throws DataException if it is none of the known kinds
   */
  Outcome of(Path path) {
    if (Files.isRegularFile(path)) {
      return isCompressed(path) ? compressed(path, AdapterFile.read(path)) : safetensors(path);
    }
    if (!Files.isDirectory(path)) {
      throw new DataException("no such file or folder: " + path);
    }
    if (Files.exists(path.resolve("config.yaml"))) {
      return run(path);
    }
    if (Files.exists(path.resolve("adapter_config.json"))) {
      return adapter(path);
    }
    if (Files.exists(path.resolve("config.json"))) {
      return model(ModelDirectory.open(path));
    }
    throw new DataException(
        path
            + " holds no config.yaml (run), adapter_config.json (adapter) or config.json (model); a"
            + " file should end in .safetensors");
  }

  private Outcome safetensors(Path file) {
    try (SafetensorsFile opened = SafetensorsFile.open(file)) {
      Sheet sheet = new Sheet("safetensors file", file);
      Tensors.of(opened).addTo(sheet, listTensors);
      opened.metadata().forEach((key, value) -> sheet.add("metadata." + key, value));
      return sheet.outcome();
    }
  }

  private static boolean isCompressed(Path file) {
    try (InputStream in = Files.newInputStream(file)) {
      byte[] start = in.readNBytes(4);
      return start.length == 4
          && ByteBuffer.wrap(start).order(ByteOrder.LITTLE_ENDIAN).getInt() == AdapterFile.MAGIC;
    } catch (IOException e) {
      throw new DataException("cannot read " + file, e);
    }
  }

  /** What a compressed adapter holds and how near its size is to the least possible. */
  Outcome compressed(Path path, AdapterFile file) {
    PayloadStatistics statistics = file.statistics();
    Sheet sheet = new Sheet("compressed adapter", path);
    sheet.add("peft_type", file.config().path("peft_type").asText());
    sheet.add("base_model_name_or_path", file.config().path("base_model_name_or_path").asText());
    sheet.add("pipeline", file.pipeline());
    if (!file.reference().isEmpty()) {
      sheet.add("reference_sha256", file.reference());
    }
    sheet.add("parameters", statistics.size());
    sheet.add("kept", statistics.kept());
    sheet.add("density", rounded((double) statistics.kept() / statistics.size()));
    sheet.add("bytes", file.fileBytes());
    sheet.add("payload_bytes", (long) statistics.payloadBytes());
    sheet.add("entropy_bound_bytes", (long) Math.ceil(statistics.boundBits() / 8));
    sheet.add("bits_per_parameter", rounded((double) statistics.bits() / statistics.size()));
    sheet.add("over_bound_percent", rounded(100 * statistics.overhead()));
    sheet.add("times_smaller_than_fp16", rounded(2.0 * statistics.size() / file.fileBytes()));
    Map<String, String> sections = new LinkedHashMap<>();
    for (PayloadStatistics.Section section : statistics.sections()) {
      sections.put(
          section.tensor(),
          String.format(
              Locale.ROOT,
              "%,d of %,d, density %.4f",
              section.kept(),
              section.size(),
              section.density()));
    }
    sheet.add("sections", sections);
    return sheet.outcome();
  }

  private static double rounded(double value) {
    return Double.isFinite(value) ? Math.round(value * 10_000) / 10_000.0 : 0;
  }

  private Outcome adapter(Path folder) {
    AdapterDirectory adapter = AdapterDirectory.read(folder);
    Sheet sheet = new Sheet("adapter", folder);
    adapter
        .config()
        .properties()
        .forEach(
            field -> {
              JsonNode value = field.getValue();
              boolean unset = value.isNull() || (value.isContainerNode() && value.isEmpty());
              if (!unset) {
                sheet.add(field.getKey(), JSON.convertValue(value, Object.class));
              }
            });
    TunedAdapter.about(folder).forEach((key, value) -> sheet.add("spark_peft." + key, value));
    Tensors.of(adapter.tensors().values()).addTo(sheet, listTensors);
    return sheet.outcome();
  }

  Outcome model(ModelDirectory model) {
    Sheet sheet = new Sheet("model", model.path());
    JsonNode config = model.config();
    sheet.add("architecture", config.path("architectures").path(0).asText("unknown"));
    sheet.add("model_type", config.path("model_type").asText("unknown"));
    for (String key :
        new String[] {
          "num_hidden_layers",
          "hidden_size",
          "num_attention_heads",
          "intermediate_size",
          "vocab_size",
          "max_position_embeddings",
          "image_size",
          "patch_size",
          "num_channels",
          "num_mel_bins",
          "num_frames",
          "sample_rate"
        }) {
      if (config.has(key)) {
        sheet.add(key, config.get(key).asLong());
      }
    }
    sheet.add("tokenizer", model.tokenizer().isPresent());
    addMethods(sheet, model);
    sheet.add("fingerprint", model.fingerprint());
    try (WeightSource weights = model.weights()) {
      Tensors.of(weights).addTo(sheet, listTensors);
    }
    return sheet.outcome();
  }

  /** What can be tuned, where the architecture is one that can be loaded. */
  private static void addMethods(Sheet sheet, ModelDirectory model) {
    ModuleTree modules;
    try {
      modules = Backbones.modules(model, HeadConfig.NO_HEAD);
    } catch (FormatException e) {
      sheet.add("supported", "no: " + e.getMessage());
      return;
    }
    sheet.add(
        "target_modules",
        modules.ofKind(ModuleSpec.Kind.LINEAR).stream()
            .map(module -> module.path().substring(module.path().lastIndexOf('.') + 1))
            .distinct()
            .collect(Collectors.joining(", ")));
    List<String> fitting = new ArrayList<>();
    List<String> others = new ArrayList<>();
    for (PeftMethod<?> method : PeftMethods.all()) {
      (fits(method, modules) ? fitting : others).add(method.peftType());
    }
    sheet.add("peft_types", String.join(", ", fitting));
    if (!others.isEmpty()) {
      sheet.add("peft_types_that_do_not_fit", String.join(", ", others));
    }
  }

  /** Whether it can be laid out, on its usual modules or on all linear layers. */
  private static boolean fits(PeftMethod<?> method, ModuleTree modules) {
    PeftConfig usual = method.defaults();
    if (attaches(usual, modules)) {
      return true;
    }
    Map<String, Object> fields = new TreeMap<>(PeftMethods.writeConfig(usual));
    return fields.put("target_modules", TargetModules.ALL_LINEAR) != null
        && attaches(PeftMethods.readConfig(fields), modules);
  }

  private static boolean attaches(PeftConfig config, ModuleTree modules) {
    try {
      PeftMethods.attach(config, modules);
      return true;
    } catch (ConfigException e) {
      return false;
    }
  }

  private static Outcome run(Path folder) {
    Recipe recipe = RecipeReader.read(folder.resolve("config.yaml"));
    Sheet sheet = new Sheet("run", folder);
    sheet.add("name", recipe.run().name());
    sheet.add("model", recipe.model().path());
    sheet.add("task", recipe.model().task());
    sheet.add("peft_type", recipe.peft().peftType());
    sheet.add("rounds_planned", (long) recipe.rounds().count());
    Path summary = folder.resolve("summary.json");
    sheet.add("finished", Files.exists(summary));
    if (Files.exists(summary)) {
      read(summary)
          .properties()
          .forEach(
              field ->
                  sheet.add(
                      "summary." + field.getKey(),
                      JSON.convertValue(field.getValue(), Object.class)));
    }
    sheet.add("files", files(folder));
    return sheet.outcome();
  }

  private static JsonNode read(Path file) {
    try {
      JsonNode json = JSON.readTree(Files.readAllBytes(file));
      if (!json.isObject()) {
        throw new FormatException(file.toString(), "must be a JSON object");
      }
      return json;
    } catch (IOException e) {
      throw new FormatException(file.toString(), "is not JSON", e);
    }
  }

  private static String files(Path folder) {
    try (Stream<Path> list = Files.list(folder)) {
      return String.join(", ", list.map(file -> file.getFileName().toString()).sorted().toList());
    } catch (IOException e) {
      throw new DataException("cannot list " + folder, e);
    }
  }

  /** Keys and values, shown one a line. */
  static final class Sheet {
    private final Map<String, Object> rows = new LinkedHashMap<>();

    Sheet(String kind, Path path) {
      rows.put("kind", kind);
      rows.put("path", path.toString());
    }

    void add(String key, Object value) {
      rows.put(key, value);
    }

    Outcome outcome() {
      int width = rows.keySet().stream().mapToInt(String::length).max().orElse(0);
      StringBuilder text = new StringBuilder();
      rows.forEach(
          (key, value) -> {
            if (value instanceof Map<?, ?> map) {
              text.append(key).append('\n');
              map.forEach((name, item) -> text.append("  %s  %s%n".formatted(name, item)));
            } else {
              String shown =
                  value instanceof Long number
                      ? String.format(Locale.ROOT, "%,d", number)
                      : String.valueOf(value);
              text.append(key).append(" ".repeat(width - key.length() + 2)).append(shown);
              text.append('\n');
            }
          });
      return new Outcome(text.toString().stripTrailing(), new TreeMap<>(rows));
    }
  }
}
