package org.sparkpeft.federated.client;

import java.io.Serializable;
import java.util.Arrays;
import java.util.Set;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.types.BinaryType;
import org.apache.spark.sql.types.DataType;
import org.apache.spark.sql.types.StringType;
import org.apache.spark.sql.types.StructType;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.federated.config.ModelConfig;

/**
 * The column that holds images or recordings: bytes of a file, a path, what Spark's image data
 * source makes ({@code origin, height, width, nChannels, mode, data}), or what Hugging Face's data
 * sets hold ({@code bytes, path}).
 */
record InputColumn(String setting, MediaFiles files) implements Serializable {
  private static final Set<String> PIXELS =
      Set.of("origin", "height", "width", "nChannels", "data");
  private static final Set<String> FILE = Set.of("bytes", "path");

  static InputColumn of(String task, MediaFiles files) {
    return new InputColumn(ModelConfig.inputSetting(task), files);
  }

  /**
   * Refuses a column that cannot hold the task's inputs.
   *
   * @throws DataException if it is missing or of another type
   */
  static void require(Dataset<Row> rows, String task, String column) {
    String setting = ModelConfig.inputSetting(task);
    ColumnNames.require(rows, setting, column);
    DataType type = rows.schema().apply(column).dataType();
    if (!ModelConfig.isMedia(task)) {
      if (type instanceof BinaryType || isPixels(type)) {
        throw wrong(
            setting,
            column,
            type,
            "text; images and sound are for model.task: image-classification and audio-classification");
      }
      return;
    }
    boolean image = isPixels(type) && task.equals("image-classification");
    if (!(type instanceof BinaryType || type instanceof StringType || isFile(type) || image)) {
      throw wrong(
          setting, column, type, "files as binary, paths as string, or Spark's image struct");
    }
  }

  private static DataException wrong(
      String setting, String column, DataType type, String expected) {
    return new DataException(
        setting
            + ": column \""
            + column
            + "\" is of type "
            + type.simpleString()
            + "; it must hold "
            + expected);
  }

  private static boolean isPixels(DataType type) {
    return type instanceof StructType struct
        && Arrays.asList(struct.fieldNames()).containsAll(PIXELS);
  }

  private static boolean isFile(DataType type) {
    return type instanceof StructType struct
        && Arrays.asList(struct.fieldNames()).containsAll(FILE);
  }

  /**
   * A cell's image or recording; files are read here.
   *
   * @throws DataException if the cell is empty or its file cannot be read
   */
  Media media(Object cell) {
    if (cell instanceof byte[] bytes) {
      return ofBytes("the bytes", bytes);
    }
    if (cell instanceof String path) {
      return Media.file(setting + ": " + path, files.read(setting, path));
    }
    if (cell instanceof Row row) {
      return isPixels(row.schema()) ? pixels(row) : file(row);
    }
    throw new DataException(setting + ": a row holds " + cell + ", which is no image or recording");
  }

  private Media ofBytes(String what, byte[] bytes) {
    if (bytes.length == 0) {
      throw new DataException(setting + ": a row has no bytes; remove it");
    }
    // The hash finds the row again: sha2(column, 256).
    return Media.file(
        "%s: %s with SHA-256 %s".formatted(setting, what, Media.sha256(bytes).substring(0, 16)),
        bytes);
  }

  /** As Hugging Face's data sets: the bytes, or where they are. */
  private Media file(Row row) {
    String path = row.getAs("path");
    byte[] bytes = row.getAs("bytes");
    if (bytes != null) {
      return ofBytes(path == null ? "the bytes" : path, bytes);
    }
    if (path == null) {
      throw new DataException(setting + ": a row has neither bytes nor a path");
    }
    return Media.file(setting + ": " + path, files.read(setting, path));
  }

  private Media pixels(Row row) {
    String origin = row.getAs("origin");
    byte[] data = row.getAs("data");
    String source = setting + ": " + (origin == null ? "an image" : origin);
    int height = number(row, "height");
    int width = number(row, "width");
    if (data == null || data.length == 0 || height <= 0 || width <= 0) {
      throw new DataException(
          source + " could not be decoded by Spark; mend or remove it, or read with dropInvalid");
    }
    return new Media(source, height, width, number(row, "nChannels"), Bytes.wrap(data));
  }

  /** Spark says -1 of an image that it could not decode. */
  private static int number(Row row, String field) {
    Integer value = row.getAs(field);
    return value == null ? -1 : value;
  }
}
