package org.sparkpeft.federated.client;

import java.util.Arrays;
import java.util.List;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.sparkpeft.core.error.DataException;

/** Column names as the user wrote them, dots and all. */
final class ColumnNames {
  private ColumnNames() {}

  static String quote(String column) {
    return "`" + column.replace("`", "``") + "`";
  }

  /**
   * @param setting the recipe key that names the column
   * @throws DataException if {@code rows} has no such column
   */
  static void require(Dataset<Row> rows, String setting, String column) {
    List<String> present = Arrays.asList(rows.columns());
    if (!present.contains(column)) {
      throw new DataException(
          setting
              + ": there is no column \""
              + column
              + "\"; the data has "
              + String.join(", ", present)
              + (present.contains("_corrupt_record")
                  ? " (_corrupt_record holds lines that could not be read; check the file and data.format)"
                  : ""));
    }
  }
}
