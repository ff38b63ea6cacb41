package org.sparkpeft.federated.config;

import java.lang.reflect.Method;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.snakeyaml.engine.v2.api.Dump;
import org.snakeyaml.engine.v2.api.DumpSettings;
import org.snakeyaml.engine.v2.common.FlowStyle;
import org.snakeyaml.engine.v2.common.NonPrintableStyle;
import org.snakeyaml.engine.v2.schema.CoreSchema;
import org.sparkpeft.core.peft.PeftConfig;

/**
 * {@link Recipe} to YAML with every key, defaults included: a run's {@code config.yaml}. The same
 * recipe gives the same bytes, and {@link RecipeReader} reads back an equal recipe.
 */
public final class RecipeWriter {
  private RecipeWriter() {}

  public static String write(Recipe recipe) {
    DumpSettings settings =
        DumpSettings.builder()
            .setDefaultFlowStyle(FlowStyle.BLOCK)
            .setNonPrintableStyle(NonPrintableStyle.ESCAPE)
            .setSchema(new CoreSchema())
            .setDereferenceAliases(true)
            .setWidth(Integer.MAX_VALUE)
            .build();
    Dump dump = new Dump(settings);
    return dump.dumpToString(toMap(recipe));
  }

  /** The recipe as nested maps, lists and scalars under its keys, in the order of the sections. */
  public static Map<String, Object> toMap(Recipe recipe) {
    return record(recipe);
  }

  private static Map<String, Object> record(Record record) {
    Map<String, Object> map = new LinkedHashMap<>();
    if (record instanceof PeftConfig peft) {
      map.put(PeftTypes.KEY, peft.peftType());
    }
    RecordFields.of(record.getClass())
        .forEach((key, field) -> map.put(key, value(RecordFields.get(record, field))));
    return map;
  }

  private static Object value(Object value) {
    if (value instanceof Map<?, ?> map) {
      Map<String, Object> sorted = new TreeMap<>();
      map.forEach((key, item) -> sorted.put((String) key, value(item)));
      return sorted;
    }
    if (value instanceof List<?> list) {
      return list.stream().map(RecipeWriter::value).toList();
    }
    if (value instanceof Record record) {
      return RecordBinder.isSection(record.getClass()) ? record(record) : toConfig(record);
    }
    return value;
  }

  private static Object toConfig(Record record) {
    try {
      Method toConfig = record.getClass().getMethod("toConfig");
      return toConfig.invoke(record);
    } catch (ReflectiveOperationException e) {
      throw new IllegalStateException(record.getClass() + " has no public toConfig()", e);
    }
  }
}
