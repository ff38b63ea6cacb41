package org.sparkpeft.merge.adapter;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.file.Path;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.io.AdapterDirectory;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.merge.method.LoraModule;

/**
 * A LoRA adapter as its modules and the rest.
 *
 * @param path where it was read
 * @param config adapter_config.json
 * @param modules by the tensor name without {@code .lora_A.weight}
 * @param others trained copies of modules, biases
 */
record LoraAdapter(
    Path path,
    ObjectNode config,
    SortedMap<String, LoraModule> modules,
    SortedMap<String, TensorData> others) {
  private static final String A = ".lora_A.weight";
  private static final String B = ".lora_B.weight";

  /** What PEFT puts before every module's path. */
  static final String PREFIX = "base_model.model.";

  /**
   * Reads an adapter.
   *
   * @throws DataException if it is not LoRA on linear layers, or has numbers that are not finite
   */
  static LoraAdapter read(Path dir) {
    return of(AdapterDirectory.read(dir));
  }

  static LoraAdapter of(AdapterDirectory adapter) {
    Path dir = adapter.path();
    if (!adapter.peftType().equals("LORA")) {
      throw new DataException(dir + " is " + adapter.peftType() + "; only LORA can be merged");
    }
    ObjectNode config = adapter.config();
    SortedMap<String, LoraModule> modules = new TreeMap<>(ParameterLayout.UTF8_ORDER);
    SortedMap<String, TensorData> others = new TreeMap<>(ParameterLayout.UTF8_ORDER);
    for (Map.Entry<String, TensorData> entry : adapter.tensors().entrySet()) {
      String name = entry.getKey();
      if (name.endsWith(A)) {
        String module = name.substring(0, name.length() - A.length());
        TensorData b = adapter.tensors().get(module + B);
        if (b == null) {
          throw new FormatException(dir.toString(), "has " + name + " but no " + module + B);
        }
        modules.put(module, module(dir, module, config, entry.getValue(), b));
      } else if (name.endsWith(B)) {
        if (!adapter.tensors().containsKey(name.substring(0, name.length() - B.length()) + A)) {
          throw new FormatException(dir.toString(), "has " + name + " without its lora_A");
        }
      } else if (name.contains(".lora_")) {
        throw new DataException(
            dir + " has " + name + "; DoRA and embedding adapters cannot be merged");
      } else {
        requireFinite(dir, name, entry.getValue().toFloats());
        others.put(name, entry.getValue());
      }
    }
    if (modules.isEmpty()) {
      throw new DataException(dir + " has no LoRA modules");
    }
    return new LoraAdapter(dir, config, modules, others);
  }

  private static LoraModule module(
      Path dir, String module, ObjectNode config, TensorData a, TensorData b) {
    if (a.shape().size() != 2
        || b.shape().size() != 2
        || !a.shape().get(0).equals(b.shape().get(1))) {
      throw new DataException(
          dir
              + ": "
              + module
              + " has A "
              + a.shape()
              + " and B "
              + b.shape()
              + ", which do not fit");
    }
    int r = a.shape().get(0);
    String path = module.startsWith(PREFIX) ? module.substring(PREFIX.length()) : module;
    double alpha =
        pattern(dir, config.path("alpha_pattern"), path, config.path("lora_alpha").asDouble(8));
    boolean stabilised = config.path("use_rslora").asBoolean(false);
    double scaling = alpha / (stabilised ? Math.sqrt(r) : r);
    if (!Double.isFinite(scaling)) {
      throw new FormatException(dir.toString(), "lora_alpha is " + config.path("lora_alpha"));
    }
    float[] left = b.toFloats();
    float[] right = a.toFloats();
    requireFinite(dir, module + A, right);
    requireFinite(dir, module + B, left);
    return LoraModule.of(b.shape().get(0), r, a.shape().get(1), right, left, scaling);
  }

  /** The value of the first pattern that the end of the path matches, as PEFT does. */
  private static double pattern(Path dir, JsonNode patterns, String path, double absent) {
    for (Map.Entry<String, JsonNode> entry : patterns.properties()) {
      try {
        if (Pattern.matches("(.*\\.)?(" + entry.getKey() + ")", path)) {
          return entry.getValue().asDouble();
        }
      } catch (PatternSyntaxException e) {
        throw new FormatException(
            dir.toString(), "alpha_pattern has " + entry.getKey() + ", no regular expression", e);
      }
    }
    return absent;
  }

  private static void requireFinite(Path dir, String name, float[] values) {
    for (int i = 0; i < values.length; i++) {
      if (!Float.isFinite(values[i])) {
        throw new DataException(
            dir + ": entry " + i + " of " + name + " is " + values[i] + "; it cannot be merged");
      }
    }
  }

  /** The base model it names, or empty. */
  String base() {
    return config.path("base_model_name_or_path").asText("");
  }
}
