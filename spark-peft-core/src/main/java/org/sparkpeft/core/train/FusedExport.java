package org.sparkpeft.core.train;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.io.WeightSource;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.WeightForm;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * Writes the base model with the adapter folded into its weights, in float32. What the adapter
 * changes is added to the checkpoint's own values, so that a base in 16 bits loses nothing here.
 */
final class FusedExport {
  private FusedExport() {}

  static ModelDirectory write(TunableModel model, ParameterVector parameters, Path target) {
    model
        .whyNotFused()
        .ifPresent(
            reason -> {
              throw new ConfigException(
                  "model.fuse",
                  "an adapter of type "
                      + model.peft().peftType()
                      + " cannot be folded into the base: "
                      + reason);
            });
    Map<String, float[]> changed = new HashMap<>(model.saved().fuse(parameters));
    changed.putAll(model.method().fuse(parameters, model.state(), model.backbone()::frozen));
    try (WeightSource checkpoint = model.directory().weights()) {
      return write(model, changed, checkpoint, target);
    }
  }

  private static ModelDirectory write(
      TunableModel model, Map<String, float[]> changed, WeightSource checkpoint, Path target) {
    List<TensorData> tensors = new ArrayList<>();
    for (ModuleSpec module : model.modules().all()) {
      module
          .tensors()
          .forEach(
              (name, shape) -> {
                float[] values = finite(name, values(model, checkpoint, name, changed.get(name)));
                if (!sharesTable(model, module, changed)) {
                  tensors.add(
                      TensorData.ofFloats(
                          name, module.storedShape(name), module.asStored(name, values)));
                }
              });
    }
    model
        .backbone()
        .buffers()
        .forEach(
            (name, shape) ->
                tensors.add(TensorData.ofFloats(name, shape, model.backbone().frozen(name))));
    return ModelDirectory.save(
        target,
        config(model, tensors),
        TensorData.byName(tensors),
        model.directory().companionFiles());
  }

  private static float[] values(
      TunableModel model, WeightSource checkpoint, String name, float @Nullable [] changed) {
    if (changed == null) {
      return model.backbone().stored(checkpoint, name);
    }
    boolean whole = model.layout().contains(name); // trained in full: nothing of the base is left
    if (whole || model.baseForm().equals(WeightForm.FLOAT32)) {
      return changed;
    }
    float[] rounded = model.backbone().frozen(name);
    float[] values = model.backbone().stored(checkpoint, name);
    for (int i = 0; i < values.length; i++) {
      values[i] += changed[i] - rounded[i];
    }
    return values;
  }

  /** Whether a module needs no tensor of its own: it is an embedding's table, and still will be. */
  private static boolean sharesTable(
      TunableModel model, ModuleSpec module, Map<String, float[]> changed) {
    String table = model.backbone().tied().get(module.path());
    return table != null
        && !changed.containsKey(table + ".weight")
        && !changed.containsKey(module.path() + ".weight");
  }

  private static float[] finite(String name, float[] values) {
    for (float value : values) {
      if (!Float.isFinite(value)) {
        throw new DataException(
            "folding the adapter into " + name + " gives " + value + "; was it trained too fast?");
      }
    }
    return values;
  }

  private static ObjectNode config(TunableModel model, List<TensorData> tensors) {
    ObjectNode config = model.directory().config().deepCopy();
    // An adapter of the embedding alone leaves the output layer as it was: no longer the table.
    if (tensors.stream()
        .anyMatch(t -> model.backbone().tied().containsKey(withoutSuffix(t.name())))) {
      config.put("tie_word_embeddings", false);
    }
    TaskConfig task = model.task();
    if (task.kind() != Task.SENTENCE_EMBEDDING && !task.kind().isLanguage()) {
      String family = family(config);
      config.putArray("architectures").add(family + head(task.kind(), family));
      ObjectNode names = config.putObject("id2label");
      ObjectNode numbers = config.putObject("label2id");
      for (int i = 0; i < task.outputs(); i++) {
        String label = i < task.labels().size() ? task.labels().get(i) : "LABEL_" + i;
        names.put(Integer.toString(i), label);
        numbers.put(label, i);
      }
      if (task.pooling().equals("mean")) {
        config.putObject("spark_peft").put("pooling", "mean");
      }
    }
    return config;
  }

  /** What follows a family's name in the class with the task's head. */
  private static String head(Task task, String family) {
    return switch (task) {
      case TOKEN_CLASSIFICATION -> "ForTokenClassification";
      case IMAGE_CLASSIFICATION -> "ForImageClassification";
      case AUDIO_CLASSIFICATION ->
          switch (family) {
            case "Wav2Vec2" -> "ForSequenceClassification";
            case "KeywordTransformer" -> ""; // the one class there is
            default -> "ForAudioClassification";
          };
      default -> "ForSequenceClassification";
    };
  }

  /** {@code Bert} of {@code BertModel}, as the model's own configuration has it. */
  private static String family(ObjectNode config) {
    String given = config.path("architectures").path(0).asText("");
    String family = given.replaceFirst("(For[A-Z]\\w*|LMHeadModel|Model)$", "");
    if (!family.isEmpty()) {
      return family;
    }
    return switch (config.path("model_type").asText()) {
      case "roberta" -> "Roberta";
      case "xlm-roberta" -> "XLMRoberta";
      case "distilbert" -> "DistilBert";
      case "bert" -> "Bert";
      default ->
          throw new ConfigException(
              "model.fuse", "the model's config.json has no architectures; name its class there");
    };
  }

  private static String withoutSuffix(String tensor) {
    return tensor.replaceFirst("\\.weight$", "");
  }
}
