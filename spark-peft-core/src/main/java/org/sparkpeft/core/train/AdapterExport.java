package org.sparkpeft.core.train;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.io.AdapterDirectory;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.peft.AdapterTensors;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.PeftMethods;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * Writes the format of Hugging Face PEFT. Head modules that the base lacks and that were made up
 * are written too, frozen or not, since the other side would make up something else.
 */
final class AdapterExport {
  /** Hugging Face's field for layers that the base stores as {@code [in, out]}. */
  static final String TRANSPOSED = "fan_in_fan_out";

  private AdapterExport() {}

  static void write(TunableModel model, ParameterVector parameters, Path target) {
    Map<String, Object> fields = new TreeMap<>(PeftMethods.writeConfig(model.peft()));
    fields.putAll(model.method().modelFields());
    fields.putAll(model.method().savedFields(model.state()));
    write(
        model,
        parameters,
        fields,
        model.method().save(parameters, model.state()),
        model.method().savedModulePrefix(),
        target);
  }

  static void writeAsLora(TunableModel model, ParameterVector parameters, Path target) {
    AttachedMethod.AsLora lora =
        model
            .method()
            .asLora(parameters, model.state())
            .orElseThrow(
                () ->
                    new ConfigException(
                        "peft_type",
                        "an adapter of type "
                            + model.peft().peftType()
                            + " cannot be written as LoRA; export it as it is"));
    write(
        model,
        parameters,
        PeftMethods.writeConfig(lora.config()),
        lora.tensors(),
        AdapterTensors.PREFIX,
        target);
  }

  private static void write(
      TunableModel model,
      ParameterVector parameters,
      Map<String, Object> fields,
      Map<String, TensorData> adapter,
      String prefix,
      Path target) {
    List<TensorData> tensors = new ArrayList<>(adapter.values());
    model
        .saved()
        .shapes()
        .forEach(
            (name, shape) ->
                tensors.add(TensorData.ofFloats(prefix + name, shape, parameters.tensor(name))));
    List<String> names = new ArrayList<>(model.savedNames());
    for (ModuleSpec module : madeUp(model)) {
      names.add(TunableModel.headName(module, model.backbone().prefix()));
      module
          .tensors()
          .forEach(
              (name, shape) ->
                  tensors.add(
                      TensorData.ofFloats(prefix + name, shape, model.backbone().frozen(name))));
    }
    AdapterDirectory.write(target, config(model, fields, names), TensorData.byName(tensors));
  }

  /** Frozen head modules that the checkpoint lacks. */
  static List<ModuleSpec> madeUp(TunableModel model) {
    return model.modules().all().stream()
        .filter(module -> model.backbone().missing().contains(module.path()))
        .filter(module -> !model.layout().contains(module.path() + ".weight"))
        .toList();
  }

  private static ObjectNode config(
      TunableModel model, Map<String, Object> method, List<String> modulesToSave) {
    Map<String, Object> fields = new TreeMap<>(method);
    String taskType = model.task().kind().huggingFaceType();
    if (!taskType.isEmpty()) {
      fields.put("task_type", taskType);
    }
    fields.put("base_model_name_or_path", baseName(model));
    fields.put("inference_mode", true);
    boolean transposed =
        model.modules().all().stream().anyMatch(module -> module.storage().transposed());
    fields.computeIfPresent(TRANSPOSED, (name, value) -> transposed);
    if (!modulesToSave.isEmpty()) {
      fields.put("modules_to_save", modulesToSave.stream().distinct().toList());
    }
    if (model.task().pooling().equals("mean")) {
      // Hugging Face's classes read the first token; a loader must know that this one does not.
      fields.put("spark_peft", Map.of("pooling", "mean"));
    }
    return new ObjectMapper().valueToTree(fields);
  }

  /** The name the model's own configuration gives, else that of its folder. */
  private static String baseName(TunableModel model) {
    String own = model.directory().config().path("_name_or_path").asText("");
    return own.isBlank()
        ? model.directory().path().toAbsolutePath().normalize().getFileName().toString()
        : own;
  }
}
