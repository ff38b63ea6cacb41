package org.sparkpeft.federated.client;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.apache.spark.sql.Column;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.api.java.UDF1;
import org.apache.spark.sql.functions;
import org.apache.spark.sql.types.ArrayType;
import org.apache.spark.sql.types.DataType;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.StructType;
import org.jspecify.annotations.Nullable;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.text.ChatTemplate.Turn;
import org.sparkpeft.federated.config.DataConfig;
import scala.collection.Iterable;
import scala.jdk.javaapi.CollectionConverters;

/** Rows in the layouts that instructions come in, as {@link Turns} in one column. */
public final class InstructionRows {
  private static final Map<String, String> ROLES =
      Map.ofEntries(
          Map.entry("system", "system"),
          Map.entry("user", "user"),
          Map.entry("human", "user"),
          Map.entry("assistant", "assistant"),
          Map.entry("gpt", "assistant"),
          Map.entry("model", "assistant"),
          Map.entry("chatgpt", "assistant"));

  /** The prompts of Stanford Alpaca (Taori et al. 2023), with and without an input. */
  private static final String WITH_INPUT =
      "Below is an instruction that describes a task, paired with an input that provides further"
          + " context. Write a response that appropriately completes the request.\n\n"
          + "### Instruction:\n%s\n\n### Input:\n%s\n\n### Response:";

  private static final String WITHOUT_INPUT =
      "Below is an instruction that describes a task. Write a response that appropriately completes"
          + " the request.\n\n### Instruction:\n%s\n\n### Response:";

  private InstructionRows() {}

  /**
   * The rows with a column {@value DataConfig#TURNS}; the same rows where {@code data.formatting}
   * is {@code columns}.
   *
   * @throws DataException if a column is missing or of another type
   */
  public static Dataset<Row> of(Dataset<Row> rows, DataConfig data) {
    return switch (data.formatting()) {
      case "alpaca" -> {
        Column input = column(rows, data, "input", false);
        Column fields =
            functions.struct(
                column(rows, data, "instruction", true), input, column(rows, data, "output", true));
        yield with(rows, fields, row -> alpaca((Row) row, data));
      }
      case "prompt-completion" -> {
        Column fields =
            functions.struct(
                column(rows, data, "prompt", true), column(rows, data, "completion", true));
        yield with(rows, fields, row -> completion((Row) row, data));
      }
      case "messages" -> chat(rows, data, "messages", "role", "content");
      case "sharegpt" -> chat(rows, data, "conversations", "from", "value");
      default -> rows;
    };
  }

  private static Dataset<Row> with(Dataset<Row> rows, Column from, Reader reader) {
    UDF1<Object, String> turns = value -> reader.turns(value).toText();
    return rows.withColumn(
        DataConfig.TURNS, functions.udf(turns, DataTypes.StringType).apply(from));
  }

  private interface Reader extends java.io.Serializable {
    Turns turns(Object value);
  }

  private static Column column(Dataset<Row> rows, DataConfig data, String role, boolean needed) {
    String name = data.column(role);
    boolean there = !name.isEmpty() && Arrays.asList(rows.columns()).contains(name);
    if (!there && !needed) {
      return functions.lit(null).cast("string");
    }
    ColumnNames.require(rows, "data.columns." + role, name);
    DataType type = rows.schema().apply(name).dataType();
    if (!type.equals(DataTypes.StringType)) {
      throw new DataException(
          "data.columns."
              + role
              + ": column \""
              + name
              + "\" must hold text, it holds "
              + type.simpleString());
    }
    return rows.col(ColumnNames.quote(name));
  }

  private static Turns alpaca(Row row, DataConfig data) {
    String instruction = text(row.getString(0), data, "instruction");
    String input = row.isNullAt(1) ? "" : row.getString(1);
    String prompt =
        input.isBlank()
            ? WITHOUT_INPUT.formatted(instruction)
            : WITH_INPUT.formatted(instruction, input);
    return Turns.promptAndReply(prompt, text(row.getString(2), data, "output"));
  }

  private static Turns completion(Row row, DataConfig data) {
    return Turns.promptAndReply(
        text(row.getString(0), data, "prompt"), text(row.getString(1), data, "completion"));
  }

  private static String text(@Nullable String value, DataConfig data, String role) {
    if (value == null) {
      throw new DataException(
          "data.columns."
              + role
              + ": column \""
              + data.column(role)
              + "\" is null in a row; fill or remove such rows");
    }
    return value;
  }

  private static Dataset<Row> chat(
      Dataset<Row> rows, DataConfig data, String list, String role, String content) {
    String name = data.column(list);
    ColumnNames.require(rows, "data.columns." + list, name);
    DataType type = rows.schema().apply(name).dataType();
    String who = data.column(role);
    String what = data.column(content);
    boolean fits =
        type instanceof ArrayType array
            && array.elementType() instanceof StructType struct
            && isText(struct, who)
            && isText(struct, what);
    if (!fits) {
      throw new DataException(
          "data.columns."
              + list
              + ": column \""
              + name
              + "\" must hold an array of structs with the texts \""
              + who
              + "\" and \""
              + what
              + "\", it holds "
              + type.simpleString());
    }
    return with(
        rows, rows.col(ColumnNames.quote(name)), value -> conversation(value, name, who, what));
  }

  private static boolean isText(StructType struct, String field) {
    return Arrays.asList(struct.fieldNames()).contains(field)
        && struct.apply(field).dataType().equals(DataTypes.StringType);
  }

  private static Turns conversation(
      @Nullable Object value, String column, String who, String what) {
    if (!(value instanceof Iterable<?> turns) || turns.isEmpty()) {
      throw new DataException(
          "column \"" + column + "\" has no turns in a row; fill or remove such rows");
    }
    List<Turn> all = new ArrayList<>();
    for (Object turn : CollectionConverters.asJava(turns.toSeq())) {
      String role = ((Row) turn).getAs(who);
      String content = ((Row) turn).getAs(what);
      String known = ROLES.get(String.valueOf(role).toLowerCase(Locale.ROOT));
      if (known == null || content == null) {
        throw new DataException(
            "column \""
                + column
                + "\": a turn needs a text and a role among system, user (human) and assistant"
                + " (gpt, model), got "
                + role
                + (content == null ? " without a text" : ""));
      }
      all.add(new Turn(known, content));
    }
    return new Turns(all);
  }
}
