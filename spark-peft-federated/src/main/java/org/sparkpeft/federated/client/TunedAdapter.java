package org.sparkpeft.federated.client;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.IntStream;
import org.sparkpeft.core.data.Examples;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.io.AdapterDirectory;
import org.sparkpeft.core.io.AtomicFiles;
import org.sparkpeft.core.model.WeightForm;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.train.AdapterImport;
import org.sparkpeft.core.train.TaskConfig;
import org.sparkpeft.core.train.TunableModel;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * A trained adapter and all that is needed to use it. On disk a Hugging Face PEFT folder with one
 * file more, {@code spark_peft.json}, which says what PEFT's files do not: task, labels, pooling,
 * length, names of tasks, and the base model with the form it was held in.
 *
 * @param runtime base model, task and method
 * @param parameters trained values
 */
public record TunedAdapter(RuntimeSpec runtime, ParameterVector parameters) {
  private static final String FILE = "spark_peft.json";
  private static final int MAX_BYTES = 16 << 20;
  private static final ObjectMapper JSON = new ObjectMapper();

  /** Writes both. */
  public static void write(Path folder, RuntimeSpec runtime, ParameterVector parameters) {
    ExecutorRuntime.of(runtime).model().exportAdapter(parameters, folder);
    ObjectNode node = JSON.createObjectNode();
    node.put("model", runtime.model());
    node.put("task", runtime.task().task());
    node.set("labels", JSON.valueToTree(runtime.task().labels()));
    node.put("pooling", runtime.task().pooling());
    node.put("max_length", runtime.task().maxLength());
    node.put("dtype", runtime.form().dtype());
    if (runtime.task().isPreference()) {
      node.set("preference", PreferenceJson.write(runtime.task().preference()));
    }
    if (!runtime.tasks().isEmpty()) {
      node.set("tasks", JSON.valueToTree(runtime.tasks()));
    }
    runtime.encoding().write(node);
    AtomicFiles.write(folder.resolve(FILE), node.toPrettyString().getBytes(StandardCharsets.UTF_8));
    AtomicFiles.write(
        folder.resolve("README.md"), readme(runtime).getBytes(StandardCharsets.UTF_8));
  }

  /**
   * How the folder is used from Python; with mean pooling the class of the task alone would read
   * the first token.
   */
  private static String readme(RuntimeSpec runtime) {
    TaskConfig task = runtime.task();
    boolean mean = task.pooling().equals("mean");
    String logits =
        mean
            ? """
              inner = model.base_model.model
              hidden = getattr(inner, inner.base_model_prefix)(**batch).last_hidden_state
              mask = batch["attention_mask"].unsqueeze(-1)
              logits = inner.classifier((hidden * mask).sum(1) / mask.sum(1))
              """
            : "logits = model(**batch).logits\n";
    String body =
        """
        # Adapter made by spark-peft

        Task %s, method %s, %d outputs%s. With Hugging Face transformers and PEFT:

        ```python
        import torch
        from peft import PeftModel
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        base = "BASE"  # folder or hub name of the base model
        model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=%d)
        model = PeftModel.from_pretrained(model, "adapter").eval()
        batch = AutoTokenizer.from_pretrained(base)(["a text"], return_tensors="pt")
        with torch.no_grad():
        %s```
        """;
    int outputs = Math.max(1, task.labels().size());
    String media =
        """
        # Adapter made by spark-peft

        Task %s, method %s, %d outputs. With Hugging Face transformers and PEFT, where they have the base's class:

        ```python
        from peft import PeftModel
        from transformers import AutoModelFor%sClassification

        base = "BASE"  # folder or hub name of the base model
        model = AutoModelFor%sClassification.from_pretrained(base, num_labels=%d, ignore_mismatched_sizes=True)
        model = PeftModel.from_pretrained(model, "adapter").eval()
        ```
        """;
    return switch (task.task()) {
      case "image-classification", "audio-classification" -> {
        String kind = task.task().startsWith("image") ? "Image" : "Audio";
        yield media.formatted(task.task(), runtime.peft().peftType(), outputs, kind, kind, outputs);
      }
      case "text-classification", "multi-label-classification", "regression" ->
          body.formatted(
              task.task(),
              runtime.peft().peftType(),
              outputs,
              mean ? ", on the mean of all tokens" : "",
              outputs,
              logits.indent(4));
      default ->
          "# Adapter made by spark-peft%n%nTask %s, method %s.%n"
              .formatted(task.task(), runtime.peft().peftType());
    };
  }

  /** Reads a folder that {@link #write} wrote. */
  public static TunedAdapter read(Path folder) {
    return read(folder, Optional.empty(), Optional.empty());
  }

  /**
   * Reads an adapter folder.
   *
   * @param model base model, where the folder does not know or another copy is meant
   * @param task task, where the folder does not know
   * @throws ConfigException if neither the folder nor the caller knows
   */
  public static TunedAdapter read(Path folder, Optional<String> model, Optional<TaskConfig> task) {
    AdapterDirectory adapter = AdapterDirectory.read(folder);
    Optional<JsonNode> known = known(folder.resolve(FILE));
    String base =
        model
            .or(() -> known.map(node -> node.path("model").asText()))
            .orElseThrow(
                () ->
                    new ConfigException(
                        "--model",
                        "the adapter does not say which base model it is for; name one"));
    TaskConfig what =
        known
            .map(TunedAdapter::task)
            .or(() -> task)
            .orElseThrow(
                () ->
                    new ConfigException(
                        "--labels", "the adapter does not name its classes; give them in order"));
    PeftConfig peft = AdapterImport.config(adapter);
    EncodingConfig encoding = known.map(EncodingConfig::read).orElse(EncodingConfig.USUAL);
    WeightForm form =
        known
            .map(node -> node.path("dtype"))
            .filter(JsonNode::isTextual)
            .map(dtype -> WeightForm.named(dtype.asText()))
            .orElse(WeightForm.FLOAT32);
    RuntimeSpec runtime =
        new RuntimeSpec(base, what, peft, 1)
            .withEncoding(encoding)
            .withForm(form)
            .withTasks(
                known.map(node -> texts(node.path("tasks"))).orElseGet(() -> numbered(peft)));
    TunableModel loaded = ExecutorRuntime.of(runtime).model();
    return new TunedAdapter(
        runtime.withState(loaded.importState(adapter)), loaded.importAdapter(adapter));
  }

  /** What {@code spark_peft.json} says; nothing where the folder has none. */
  public static Map<String, Object> about(Path folder) {
    Map<String, Object> all = new LinkedHashMap<>();
    known(folder.resolve(FILE)).stream()
        .flatMap(node -> node.properties().stream())
        .forEach(
            field -> all.put(field.getKey(), JSON.convertValue(field.getValue(), Object.class)));
    return all;
  }

  private static Optional<JsonNode> known(Path file) {
    if (!Files.exists(file)) {
      return Optional.empty();
    }
    try {
      if (Files.size(file) > MAX_BYTES) {
        throw new FormatException(
            file.toString(), "has " + Files.size(file) + " bytes, at most " + MAX_BYTES);
      }
      return Optional.of(JSON.readTree(Files.readAllBytes(file)));
    } catch (IOException e) {
      throw new FormatException(file.toString(), "cannot be read: " + e.getMessage(), e);
    }
  }

  /** An adapter from elsewhere knows its tasks by number, as Hugging Face's {@code task_ids}. */
  private static List<String> numbered(PeftConfig peft) {
    int tasks = Math.min(peft.taskCount().orElse(0), Examples.MAX_TASKS);
    return IntStream.range(0, tasks > 1 ? tasks : 0).mapToObj(Integer::toString).toList();
  }

  private static List<String> texts(JsonNode array) {
    List<String> texts = new ArrayList<>();
    array.forEach(text -> texts.add(text.asText()));
    return texts;
  }

  private static TaskConfig task(JsonNode node) {
    return new TaskConfig(
        node.path("task").asText(),
        texts(node.path("labels")),
        node.path("pooling").asText("auto"),
        node.path("max_length").asInt(),
        PreferenceJson.read(node.path("preference")));
  }
}
