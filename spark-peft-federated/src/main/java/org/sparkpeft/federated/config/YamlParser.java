package org.sparkpeft.federated.config;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.snakeyaml.engine.v2.api.LoadSettings;
import org.snakeyaml.engine.v2.api.lowlevel.Compose;
import org.snakeyaml.engine.v2.api.lowlevel.Parse;
import org.snakeyaml.engine.v2.events.CollectionEndEvent;
import org.snakeyaml.engine.v2.events.CollectionStartEvent;
import org.snakeyaml.engine.v2.events.Event;
import org.snakeyaml.engine.v2.exceptions.Mark;
import org.snakeyaml.engine.v2.exceptions.MarkedYamlEngineException;
import org.snakeyaml.engine.v2.exceptions.YamlEngineException;
import org.snakeyaml.engine.v2.nodes.MappingNode;
import org.snakeyaml.engine.v2.nodes.Node;
import org.snakeyaml.engine.v2.nodes.NodeTuple;
import org.snakeyaml.engine.v2.nodes.ScalarNode;
import org.snakeyaml.engine.v2.nodes.SequenceNode;
import org.snakeyaml.engine.v2.nodes.Tag;
import org.snakeyaml.engine.v2.schema.CoreSchema;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.Problem;
import org.sparkpeft.federated.config.YamlValue.Kind;
import org.sparkpeft.federated.config.YamlValue.Located;
import org.sparkpeft.federated.config.YamlValue.Mapping;
import org.sparkpeft.federated.config.YamlValue.Scalar;
import org.sparkpeft.federated.config.YamlValue.Sequence;

/**
 * YAML 1.2 text to {@link YamlValue}s. Size, depth and the number of values after expanding aliases
 * are bounded, so that a hostile document costs neither stack nor memory; repeated keys are
 * problems.
 */
final class YamlParser {
  static final int MAX_CHARACTERS = 1 << 20;
  static final int MAX_DEPTH = 32;
  static final int MAX_VALUES = 20_000;
  private static final int MAX_ALIASES = 50;

  private static final Map<Tag, Kind> KINDS =
      Map.of(
          Tag.STR, Kind.TEXT,
          Tag.INT, Kind.INTEGER,
          Tag.FLOAT, Kind.FLOAT,
          Tag.BOOL, Kind.BOOLEAN,
          Tag.NULL, Kind.NULL);

  private final String source;
  private final boolean lines;
  private final List<Problem> problems;
  private int values;

  /**
   * @param source file name, or the command-line option the text came from
   * @param lines whether places are {@code source:line}, or only {@code source}
   * @param problems where repeated keys are reported
   */
  YamlParser(String source, boolean lines, List<Problem> problems) {
    this.source = source;
    this.lines = lines;
    this.problems = problems;
  }

  /**
   * The one document in {@code text}; empty when there is none.
   *
   * @throws ConfigException if the text is no YAML or exceeds a bound
   */
  Optional<Located> parse(String text) {
    if (text.length() > MAX_CHARACTERS) {
      throw refuse(source, "is too large: at most " + MAX_CHARACTERS + " characters");
    }
    LoadSettings settings =
        LoadSettings.builder()
            .setLabel(source)
            .setSchema(new CoreSchema())
            .setMaxAliasesForCollections(MAX_ALIASES)
            .build();
    try {
      // The composer recurses, so the depth is checked on the flat stream of events first.
      checkDepth(new Parse(settings).parseString(text));
      return new Compose(settings)
          .composeString(text)
          .map(node -> new Located(convert(node, 0), place(node)));
    } catch (MarkedYamlEngineException e) {
      String where = e.getProblemMark().map(this::place).orElse(source);
      throw refuse(where, "is not YAML: " + e.getProblem());
    } catch (YamlEngineException e) {
      throw refuse(source, "is not YAML: " + e.getMessage());
    }
  }

  private void checkDepth(Iterable<Event> events) {
    int depth = 0;
    for (Event event : events) {
      if (event instanceof CollectionStartEvent) {
        depth++;
      } else if (event instanceof CollectionEndEvent) {
        depth--;
      }
      if (depth > MAX_DEPTH) {
        throw tooDeep(event.getStartMark().map(this::place).orElse(source));
      }
    }
  }

  private YamlValue convert(Node node, int depth) {
    // An alias inside its own anchor shows up here as endless depth.
    if (depth > MAX_DEPTH) {
      throw tooDeep(place(node));
    }
    if (++values > MAX_VALUES) {
      throw refuse(place(node), "has more than " + MAX_VALUES + " values, aliases expanded");
    }
    if (node instanceof MappingNode mapping) {
      return mapping(mapping, depth);
    }
    if (node instanceof SequenceNode sequence) {
      List<Located> items = new ArrayList<>();
      for (Node item : sequence.getValue()) {
        items.add(new Located(convert(item, depth + 1), place(item)));
      }
      return new Sequence(items);
    }
    ScalarNode scalar = (ScalarNode) node;
    return new Scalar(KINDS.getOrDefault(scalar.getTag(), Kind.OTHER), scalar.getValue());
  }

  private Mapping mapping(MappingNode node, int depth) {
    Map<String, Located> entries = new LinkedHashMap<>();
    for (NodeTuple tuple : node.getValue()) {
      String where = place(tuple.getKeyNode());
      if (!(tuple.getKeyNode() instanceof ScalarNode key)) {
        throw refuse(where, "a key must be one word, got a list or a section");
      }
      Located entry = new Located(convert(tuple.getValueNode(), depth + 1), where);
      Located first = entries.putIfAbsent(key.getValue(), entry);
      if (first != null) {
        problems.add(
            new Problem(key.getValue(), "is given twice, first at " + first.where(), where));
      }
    }
    return new Mapping(entries);
  }

  private String place(Node node) {
    return node.getStartMark().map(this::place).orElse(source);
  }

  private String place(Mark mark) {
    return lines ? source + ":" + (mark.getLine() + 1) : source;
  }

  private static ConfigException tooDeep(String where) {
    return refuse(where, "is nested more than " + MAX_DEPTH + " deep");
  }

  private static ConfigException refuse(String where, String message) {
    return new ConfigException(List.of(new Problem("", message, where)));
  }
}
