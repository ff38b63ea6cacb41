package org.sparkpeft.core.peft.sharing;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.peft.AdapterTensors;
import org.sparkpeft.core.peft.ConfigRecords;
import org.sparkpeft.core.peft.LoraConfig;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethods;
import org.sparkpeft.core.peft.TargetModules;

/**
 * The file of a method whose effect in inference is a LoRA for each layer, expanded to just that:
 * any reader of LoRA can use it, but training cannot go on from it.
 */
final class LoraFile {
  /** Values of {@code save_as}. */
  static final List<String> CHOICES = List.of("own", "lora");

  private final List<TensorData> tensors = new ArrayList<>();

  static void check(Problems problems, String saveAs) {
    problems.require(
        CHOICES.contains(saveAs),
        "save_as",
        saveAs,
        "must be own (training can go on from it) or lora (expanded, for readers of LoRA)");
  }

  /**
   * Adds a layer.
   *
   * @param a {@code [r, in]}
   * @param b {@code [out, r]}
   */
  LoraFile add(String path, float[] a, float[] b, int r) {
    String name = AdapterTensors.PREFIX + path;
    tensors.add(TensorData.ofFloats(name + ".lora_A.weight", List.of(r, a.length / r), a));
    tensors.add(TensorData.ofFloats(name + ".lora_B.weight", List.of(b.length / r, r), b));
    return this;
  }

  SortedMap<String, TensorData> tensors() {
    return TensorData.byName(tensors);
  }

  /** The fields of a LoRA's {@code adapter_config.json}, with the method's own emptied. */
  static SortedMap<String, Object> fields(
      PeftConfig own, int r, double alpha, TargetModules targets) {
    SortedMap<String, Object> fields = new TreeMap<>();
    ConfigRecords.write(own).keySet().forEach(name -> fields.put(name, null));
    fields.putAll(
        PeftMethods.writeConfig(
            new LoraConfig(
                r,
                alpha,
                0,
                targets,
                List.of(),
                false,
                "true",
                Map.of(),
                Map.of(),
                List.of(),
                own.modulesToSave())));
    return fields;
  }
}
