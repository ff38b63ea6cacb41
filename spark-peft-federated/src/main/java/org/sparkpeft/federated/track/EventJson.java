package org.sparkpeft.federated.track;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.MapperFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.PropertyNamingStrategies;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.time.DateTimeException;
import java.time.Instant;
import java.util.Locale;
import java.util.Optional;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.federated.round.RunEvent;

/**
 * One event as one JSON object: {@code event} (the record's name in snake_case), {@code time}, then
 * the record's components in snake_case. Numbers JSON cannot express are the strings {@code "NaN"},
 * {@code "Infinity"} and {@code "-Infinity"}. Fields a newer version added are ignored; a missing
 * field is an error.
 */
final class EventJson {
  private static final String KIND = "event";
  private static final String TIME = "time";
  private static final int MAX_DEPTH = 16;
  private static final SortedMap<String, Class<? extends RunEvent>> KINDS = kinds();
  private static final ObjectMapper MAPPER = mapper();

  private EventJson() {}

  /** A line's event; {@code event} is empty when the kind is unknown. */
  record Line(Instant time, Optional<RunEvent> event) {}

  static byte[] write(RunEvent event, Instant time) {
    ObjectNode line = MAPPER.createObjectNode();
    line.put(KIND, kind(event.getClass()));
    line.put(TIME, time.toString());
    line.setAll(MAPPER.<ObjectNode>valueToTree(event));
    try {
      return MAPPER.writeValueAsBytes(line);
    } catch (JsonProcessingException e) {
      throw new IllegalStateException("a JSON tree can always be written", e);
    }
  }

  /**
   * @throws IOException if the bytes are not an event; the message says why, without the place
   */
  static Line read(byte[] line) throws IOException {
    if (!(MAPPER.readTree(line) instanceof ObjectNode object)) {
      throw new IOException("must be a JSON object {...}");
    }
    String kind = text(object, KIND);
    Instant time = time(text(object, TIME));
    Class<? extends RunEvent> type = KINDS.get(kind);
    if (type == null) {
      return new Line(time, Optional.empty());
    }
    object.remove(KIND);
    object.remove(TIME);
    return new Line(time, Optional.of(MAPPER.treeToValue(object, type)));
  }

  private static String text(ObjectNode object, String key) throws IOException {
    JsonNode value = object.get(key);
    if (value == null || !value.isTextual()) {
      throw new IOException("needs a string \"" + key + "\"");
    }
    return value.textValue();
  }

  private static Instant time(String text) throws IOException {
    try {
      return Instant.parse(text);
    } catch (DateTimeException e) {
      throw new IOException(
          "\"time\" must be like 2026-01-31T12:00:00Z, got \"" + Text.cut(text, 60) + "\"", e);
    }
  }

  private static String kind(Class<?> type) {
    return type.getSimpleName().replaceAll("(?<=[a-z])(?=[A-Z])", "_").toLowerCase(Locale.ROOT);
  }

  private static SortedMap<String, Class<? extends RunEvent>> kinds() {
    SortedMap<String, Class<? extends RunEvent>> kinds = new TreeMap<>();
    for (Class<?> type : RunEvent.class.getPermittedSubclasses()) {
      kinds.put(kind(type), type.asSubclass(RunEvent.class));
    }
    return kinds;
  }

  private static ObjectMapper mapper() {
    JsonFactory factory =
        JsonFactory.builder()
            .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
            // Keys include client ids; there is no end of those, so they must not be pooled.
            .disable(JsonFactory.Feature.CANONICALIZE_FIELD_NAMES)
            .disable(JsonFactory.Feature.INTERN_FIELD_NAMES)
            .streamReadConstraints(
                StreamReadConstraints.builder().maxNestingDepth(MAX_DEPTH).build())
            .build();
    return JsonMapper.builder(factory)
        .propertyNamingStrategy(PropertyNamingStrategies.SNAKE_CASE)
        .enable(
            DeserializationFeature.FAIL_ON_MISSING_CREATOR_PROPERTIES,
            DeserializationFeature.FAIL_ON_NULL_CREATOR_PROPERTIES,
            DeserializationFeature.FAIL_ON_TRAILING_TOKENS,
            DeserializationFeature.USE_LONG_FOR_INTS)
        .disable(
            DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES,
            DeserializationFeature.ACCEPT_FLOAT_AS_INT)
        .disable(MapperFeature.ALLOW_COERCION_OF_SCALARS)
        .build();
  }
}
