package org.sparkpeft.core.peft;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.ParameterizedType;
import java.lang.reflect.RecordComponent;
import java.lang.reflect.Type;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.core.error.ConfigException;

/**
 * Configuration records as fields of {@code adapter_config.json}: component {@code loraAlpha} is
 * {@code lora_alpha}. Components may be int, long, double, boolean, String, {@link TargetModules},
 * lists of strings or whole numbers, and maps from strings to numbers.
 */
public final class ConfigRecords {
  /** Fields that every adapter has and that change nothing. */
  private static final Set<String> COMMON =
      Set.of(
          "auto_mapping",
          "base_model_name_or_path",
          "inference_mode",
          "modules_to_save",
          "peft_type",
          "peft_version",
          "revision",
          "runtime_config",
          "spark_peft",
          "task_type");

  /** Lists of layers that Hugging Face models have; the layer number is found without the name. */
  private static final List<String> LAYER_LISTS =
      List.of("layer", "layers", "h", "block", "blocks");

  private ConfigRecords() {}

  /** The name of a component in files. */
  public static String fieldName(RecordComponent component) {
    FieldName given = component.getAnnotation(FieldName.class);
    return given != null
        ? given.value()
        : component.getName().replaceAll("([A-Z])", "_$1").toLowerCase(Locale.ROOT);
  }

  /**
   * Reads a record.
   *
   * @param defaults what absent and null fields take
   * @param fields the file; fields the record does not have must be off
   * @param inert further fields, each allowed to be absent or to have this value
   * @throws ConfigException for a field of the wrong type, one the record's checks refuse, or one
   *     that is not supported and set
   */
  public static <C extends PeftConfig> C read(
      Class<C> type, C defaults, Map<String, Object> fields, Map<String, Object> inert) {
    ConfigFields reader = new ConfigFields(fields);
    RecordComponent[] components = type.getRecordComponents();
    Set<String> known = new HashSet<>(COMMON);
    inert.forEach(
        (name, value) -> {
          if (Objects.equals(fields.get(name), value)) {
            known.add(name);
          }
        });
    Object[] values = new Object[components.length];
    for (int i = 0; i < components.length; i++) {
      String name = fieldName(components[i]);
      known.add(name);
      values[i] =
          reader.has(name)
              ? value(reader, fields, name, components[i])
              : get(defaults, components[i]);
    }
    if (known.add("layers_pattern")) {
      checkLayersPattern(reader, fields);
    }
    reader.requireOff(
        fields.keySet().stream().filter(key -> !known.contains(key)).sorted().toList());
    return construct(type, components, values);
  }

  private static void checkLayersPattern(ConfigFields reader, Map<String, Object> fields) {
    List<String> patterns =
        fields.get("layers_pattern") instanceof String one
            ? List.of(one)
            : reader.strings("layers_pattern");
    for (String pattern : patterns) {
      if (!LAYER_LISTS.contains(pattern)) {
        throw new ConfigException(
            "layers_pattern", "must be one of " + LAYER_LISTS + ", got " + pattern);
      }
    }
  }

  private static Object value(
      ConfigFields reader, Map<String, Object> fields, String name, RecordComponent component) {
    Class<?> type = component.getType();
    if (type == int.class) {
      return reader.integer(name, 0);
    } else if (type == long.class) {
      return reader.whole(name);
    } else if (type == double.class) {
      return reader.number(name, 0);
    } else if (type == boolean.class) {
      return reader.flag(name);
    } else if (type == String.class) {
      return reader.text(name, "");
    } else if (type == TargetModules.class) {
      return reader.targets(name);
    } else if (type == List.class) {
      if (argument(component, 0) == Integer.class) {
        return reader.integers(name);
      }
      return fields.get(name) instanceof String one ? List.of(one) : reader.strings(name);
    } else if (type == Map.class) {
      Map<String, Double> numbers = reader.numbers(name);
      if (argument(component, 1) == Double.class) {
        return numbers;
      }
      Map<String, Integer> whole = new LinkedHashMap<>();
      numbers.forEach((key, number) -> whole.put(key, number.intValue()));
      return whole;
    }
    throw new IllegalStateException("no way to read " + component);
  }

  private static Type argument(RecordComponent component, int index) {
    return ((ParameterizedType) component.getGenericType()).getActualTypeArguments()[index];
  }

  /** The record's fields; lists and texts that are empty are null, as in Hugging Face's files. */
  public static SortedMap<String, Object> write(PeftConfig config) {
    SortedMap<String, Object> fields = new TreeMap<>();
    for (RecordComponent component : config.getClass().getRecordComponents()) {
      Object value = get(config, component);
      String name = fieldName(component);
      boolean empty = (value instanceof List<?> list && list.isEmpty()) || "".equals(value);
      if (!COMMON.contains(name)) {
        fields.put(name, empty ? null : plain(value));
      }
    }
    return fields;
  }

  private static Object plain(Object value) {
    if (value instanceof TargetModules targets) {
      return targets.toConfig();
    }
    if ("true".equals(value) || "false".equals(value)) {
      return Boolean.valueOf(value.toString());
    }
    if (value instanceof List<?> list) {
      boolean expression =
          list.size() == 1 && list.get(0) instanceof String one && TargetModules.isExpression(one);
      return expression ? list.get(0) : new ArrayList<>(list);
    }
    return value;
  }

  private static Object get(PeftConfig config, RecordComponent component) {
    try {
      component.getAccessor().setAccessible(true);
      return component.getAccessor().invoke(config);
    } catch (ReflectiveOperationException e) {
      throw new IllegalStateException("cannot read " + component, e);
    }
  }

  private static <C extends PeftConfig> C construct(
      Class<C> type, RecordComponent[] components, Object[] values) {
    Class<?>[] types =
        Arrays.stream(components).map(RecordComponent::getType).toArray(Class<?>[]::new);
    try {
      var constructor = type.getDeclaredConstructor(types);
      constructor.setAccessible(true);
      return constructor.newInstance(values);
    } catch (InvocationTargetException e) {
      if (e.getCause() instanceof ConfigException problems) {
        throw problems;
      }
      throw new IllegalStateException("the checks of " + type.getName() + " failed", e.getCause());
    } catch (ReflectiveOperationException e) {
      throw new IllegalStateException(type.getName() + " cannot be constructed", e);
    }
  }
}
