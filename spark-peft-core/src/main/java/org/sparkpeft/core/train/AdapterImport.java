package org.sparkpeft.core.train;

import com.fasterxml.jackson.core.type.TypeReference;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeSet;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.io.AdapterDirectory;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethods;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;

/** Reads the format of Hugging Face PEFT. */
public final class AdapterImport {
  /** Which modules are meant shows in the tensors' names; these need not be spelled the same. */
  private static final Set<String> SHOWN_BY_TENSORS =
      Set.of("target_modules", "exclude_modules", "layers_to_transform");

  private AdapterImport() {}

  /**
   * The settings of an adapter made here or by Hugging Face PEFT.
   *
   * @throws ConfigException if the method or a setting is not supported
   */
  public static PeftConfig config(AdapterDirectory adapter) {
    return PeftMethods.readConfig(
        new ObjectMapper()
            .convertValue(adapter.config(), new TypeReference<Map<String, Object>>() {}));
  }

  static ParameterVector read(TunableModel model, AdapterDirectory adapter) {
    requireSameSettings(model.peft(), config(adapter));
    SortedMap<String, TensorData> tensors = adapter.tensors();
    Set<String> unread = new TreeSet<>(tensors.keySet());
    Map<String, float[]> values = new LinkedHashMap<>();
    List<String> missing = new ArrayList<>();
    for (ParameterLayout.Entry entry : model.layout().entries()) {
      TensorData tensor = tensors.get(AdapterExport.PREFIX + entry.name());
      if (tensor == null) {
        missing.add(entry.name());
      } else if (!tensor.shape().equals(entry.shape())) {
        throw new FormatException(
            adapter.path().toString(),
            entry.name()
                + " has shape "
                + tensor.shape()
                + "; the model asks for "
                + entry.shape());
      } else {
        values.put(entry.name(), tensor.toFloats());
        unread.remove(AdapterExport.PREFIX + entry.name());
      }
    }
    if (!missing.isEmpty()) {
      throw new FormatException(
          adapter.path().toString(),
          "lacks "
              + missing.size()
              + " tensors of this model's adapter, such as "
              + missing.get(0));
    }
    for (ModuleSpec module : AdapterExport.madeUp(model)) {
      for (String name : module.tensors().keySet()) {
        TensorData tensor = tensors.get(AdapterExport.PREFIX + name);
        if (tensor != null && Arrays.equals(tensor.toFloats(), model.backbone().frozen(name))) {
          unread.remove(AdapterExport.PREFIX + name);
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
    return model.flatten(values);
  }

  private static void requireSameSettings(PeftConfig ours, PeftConfig theirs) {
    Map<String, Object> mine = PeftMethods.writeConfig(ours);
    PeftMethods.writeConfig(theirs)
        .forEach(
            (key, value) -> {
              boolean decides =
                  !SHOWN_BY_TENSORS.contains(key)
                      && !key.endsWith("_dropout")
                      && !key.startsWith("init_");
              if (decides && !Objects.equals(value, mine.get(key))) {
                throw new ConfigException(
                    key,
                    "the adapter has " + value + ", the model was set up with " + mine.get(key));
              }
            });
  }
}
