package org.sparkpeft.federated.client;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import org.apache.spark.sql.AnalysisException;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Encoders;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.SparkSession;
import org.sparkpeft.core.error.DataException;

/**
 * Opens what a recipe calls data: any format and location Spark reads, a table, or a data set
 * shipped with spark-peft.
 */
public final class DataReader {
  /** Locations of data sets that come with spark-peft, as JSON lines on the class path. */
  public static final String BUNDLED = "bundled:";

  private final SparkSession spark;

  public DataReader(SparkSession spark) {
    this.spark = spark;
  }

  /**
   * @param location path, URI, table name (format {@code table}) or {@code bundled:NAME}
   * @param format any name Spark's reader knows, for example json, csv, parquet, orc, text, or
   *     {@code table}
   * @param options options for Spark's reader
   * @throws DataException if there is nothing there, or not in that format
   */
  public Dataset<Row> read(String location, String format, Map<String, String> options) {
    if (location.startsWith(BUNDLED)) {
      return bundled(location);
    }
    try {
      if (format.equals("table")) {
        return spark.read().options(options).table(location);
      }
      return spark.read().options(options).format(format).load(location);
    } catch (Exception e) {
      // Spark declares AnalysisException in Scala only, so the Java compiler does not let it be
      // caught by name alone.
      if (e instanceof AnalysisException
          || e.getClass().getName().endsWith("ClassNotFoundException")) {
        throw new DataException(
            location
                + " cannot be read as "
                + format
                + ": "
                + firstLine(e)
                + "; check data.train, data.test and data.format",
            e);
      }
      throw e;
    }
  }

  /** Read on the driver and spread from there, since other machines do not have the file. */
  private Dataset<Row> bundled(String location) {
    String resource = "/bundled/" + location.substring(BUNDLED.length());
    try (InputStream in = DataReader.class.getResourceAsStream(resource)) {
      if (in == null) {
        throw new DataException(
            location
                + " does not come with spark-peft; there is "
                + BUNDLED
                + "support-requests/train.jsonl");
      }
      List<String> lines = new String(in.readAllBytes(), StandardCharsets.UTF_8).lines().toList();
      return spark.read().json(spark.createDataset(lines, Encoders.STRING()));
    } catch (IOException e) {
      throw new UncheckedIOException(location, e);
    }
  }

  private static String firstLine(Exception e) {
    String message = String.valueOf(e.getMessage());
    return message.lines().findFirst().orElse(message);
  }
}
