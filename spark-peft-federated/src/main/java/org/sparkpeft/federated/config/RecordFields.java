package org.sparkpeft.federated.config;

import java.lang.reflect.Constructor;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.RecordComponent;
import java.util.Arrays;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.Map;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.peft.ConfigRecords;

/** Records seen as configuration: component {@code loraAlpha} is the key {@code lora_alpha}. */
final class RecordFields {
  private RecordFields() {}

  /** The components of {@code type} under their keys, in declaration order. */
  static Map<String, RecordComponent> of(Class<?> type) {
    Map<String, RecordComponent> fields = new LinkedHashMap<>();
    for (RecordComponent component : type.getRecordComponents()) {
      fields.put(ConfigRecords.fieldName(component), component);
    }
    return fields;
  }

  static Object get(Record of, RecordComponent component) {
    try {
      return component.getAccessor().invoke(of);
    } catch (ReflectiveOperationException e) {
      throw new IllegalStateException("cannot read " + component + " of " + of.getClass(), e);
    }
  }

  /**
   * Calls the canonical constructor.
   *
   * @throws ConfigException as thrown by the record's own checks
   */
  static Record construct(Class<? extends Record> type, Collection<?> values) {
    Class<?>[] types =
        Arrays.stream(type.getRecordComponents())
            .map(RecordComponent::getType)
            .toArray(Class<?>[]::new);
    try {
      Constructor<? extends Record> constructor = type.getDeclaredConstructor(types);
      return constructor.newInstance(values.toArray());
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
