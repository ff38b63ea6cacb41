package org.sparkpeft.core.train;

import com.fasterxml.jackson.core.type.TypeReference;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.TreeSet;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.io.AdapterDirectory;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.peft.AdapterTensors;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethod;
import org.sparkpeft.core.peft.PeftMethods;
import org.sparkpeft.core.vector.ParameterVector;

/** Reads the format of Hugging Face PEFT. */
public final class AdapterImport {
  /** Which modules are meant shows in the tensors' names; these need not be spelled the same. */
  private static final Set<String> SHOWN_BY_TENSORS =
      Set.of("target_modules", "exclude_modules", "layers_to_transform");

  /** How training began; what was trained does not depend on it. */
  private static final Set<String> BEGINNING =
      Set.of(
          "prompt_tuning_init",
          "prompt_tuning_init_text",
          "tokenizer_name_or_path",
          "tokenizer_kwargs");

  private AdapterImport() {}

  /**
   * The settings of an adapter made here or by Hugging Face PEFT.
   *
   * @throws ConfigException if the method or a setting is not supported
   */
  public static PeftConfig config(AdapterDirectory adapter) {
    Map<String, List<Integer>> shapes = new TreeMap<>();
    adapter.tensors().forEach((name, tensor) -> shapes.put(name, tensor.shape()));
    return PeftMethods.readConfig(fields(adapter), shapes);
  }

  private static Map<String, Object> fields(AdapterDirectory adapter) {
    Map<String, Object> fields =
        new ObjectMapper()
            .convertValue(adapter.config(), new TypeReference<Map<String, Object>>() {});
    // How the base stores its layers, which the base itself says.
    fields.computeIfPresent(
        AdapterExport.TRANSPOSED, (name, value) -> value instanceof Boolean ? false : value);
    return fields;
  }

  static ParameterVector read(TunableModel model, AdapterDirectory adapter) {
    return model.flatten(load(model, adapter).values());
  }

  static AttachedMethod.Loaded load(TunableModel model, AdapterDirectory adapter) {
    requireSameSettings(model, config(adapter));
    requireSameModel(model, adapter);
    SortedMap<String, TensorData> tensors = adapter.tensors();
    AdapterTensors file = new AdapterTensors(adapter.path().toString(), tensors, fields(adapter));
    AttachedMethod.Loaded loaded = model.method().load(file, model.base());
    Map<String, float[]> values = new LinkedHashMap<>(loaded.values());
    String prefix = model.method().savedModulePrefix();
    values.putAll(file.takeAll(prefix, model.saved().shapes()));
    Set<String> unread = new TreeSet<>(file.left());
    for (ModuleSpec module : AdapterExport.madeUp(model)) {
      for (String name : module.tensors().keySet()) {
        TensorData tensor = tensors.get(prefix + name);
        if (tensor != null && Arrays.equals(tensor.toFloats(), model.backbone().frozen(name))) {
          unread.remove(prefix + name);
        }
      }
    }
    if (!unread.isEmpty()) {
      throw new FormatException(
          adapter.path().toString(),
          "holds "
              + unread.size()
              + " tensors that this model would not use, such as "
              + unread.iterator().next()
              + "; take the adapter's own settings, or list their modules in modules_to_save");
    }
    return new AttachedMethod.Loaded(values, loaded.state());
  }

  private static void requireSameModel(TunableModel model, AdapterDirectory adapter) {
    Map<String, Object> theirs = fields(adapter);
    model
        .method()
        .modelFields()
        .forEach(
            (key, value) -> {
              Object other = theirs.get(key);
              if (other != null && !other.equals(value)) {
                throw new ConfigException(
                    key, "the adapter has " + other + ", the model asks for " + value);
              }
            });
  }

  private static void requireSameSettings(TunableModel model, PeftConfig theirs) {
    PeftMethod<?> method = PeftMethods.named(model.peft().peftType());
    Set<String> training = PeftMethods.trainingFields(model.peft());
    Map<String, Object> mine = PeftMethods.writeConfig(model.peft());
    Set<String> ofModel = model.method().modelFields().keySet();
    PeftMethods.writeConfig(theirs)
        .forEach(
            (key, value) -> {
              boolean decides =
                  !SHOWN_BY_TENSORS.contains(key)
                      && !BEGINNING.contains(key)
                      && !ofModel.contains(key)
                      && !training.contains(key)
                      && !key.endsWith("_dropout")
                      && !(method.mattersAtStartOnly(key, value)
                          && method.mattersAtStartOnly(key, mine.get(key)));
              if (decides && !Objects.equals(value, mine.get(key))) {
                throw new ConfigException(
                    key,
                    "the adapter has " + value + ", the model was set up with " + mine.get(key));
              }
            });
  }
}
