package org.sparkpeft.federated.client;

import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import org.apache.spark.sql.Column;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.functions;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.DataException;

/** Checks rows of prompts and completions before they are dealt out. */
final class PreferenceRows {
  private PreferenceRows() {}

  /**
   * Columns that are there, no null or empty completion, none that is chosen and rejected.
   *
   * @param setting the recipe key or option that names the data, for messages
   * @throws ConfigException if no column of rejected completions is named, and none of labels
   * @throws DataException naming the first column with such rows, and how many there are
   */
  static void require(Dataset<Row> rows, String setting, DataColumns columns) {
    if (columns.label().isEmpty() && columns.rejected().isEmpty()) {
      throw new ConfigException(
          "data.rejected", "learning from pairs needs the column of the rejected completion");
    }
    Map<String, Column> wrong = new LinkedHashMap<>();
    Column completion = rows.col(ColumnNames.quote(columns.pair()));
    wrong.put(empty("data.text_pair", columns.pair()), isBlank(completion));
    if (columns.label().isEmpty()) {
      ColumnNames.require(rows, "data.rejected", columns.rejected());
      Column rejected = rows.col(ColumnNames.quote(columns.rejected()));
      wrong.put(empty("data.rejected", columns.rejected()), isBlank(rejected));
      wrong.put(
          "data.rejected: columns \""
              + columns.pair()
              + "\" and \""
              + columns.rejected()
              + "\" are the same, so that nothing is preferred,",
          completion.equalTo(rejected));
    }
    Column[] counts =
        wrong.values().stream()
            .map(is -> functions.sum(functions.when(is, 1L).otherwise(0L)))
            .toArray(Column[]::new);
    Row found = rows.agg(functions.count(functions.lit(1)), counts).collectAsList().get(0);
    int at = 1;
    for (String what : wrong.keySet()) {
      long count = found.getLong(at++);
      if (count > 0) {
        throw new DataException(
            setting
                + ": "
                + what
                + " in "
                + count
                + " of "
                + found.getLong(0)
                + " rows; fill or remove those rows");
      }
    }
  }

  private static String empty(String key, String column) {
    return key + ": column \"" + column + "\" is empty";
  }

  private static Column isBlank(Column text) {
    return text.isNull().or(functions.trim(text).equalTo(""));
  }

  /**
   * A label of {@code kto}.
   *
   * @param label true or false, 1 or 0, as such or in words
   * @throws DataException if it is anything else
   */
  static boolean desirable(Object label) {
    return switch (String.valueOf(label).toLowerCase(Locale.ROOT)) {
      case "true", "1", "1.0" -> true;
      case "false", "0", "0.0" -> false;
      default ->
          throw new DataException(
              "data.label: model.task kto needs true (desirable) or false, got " + label);
    };
  }
}
