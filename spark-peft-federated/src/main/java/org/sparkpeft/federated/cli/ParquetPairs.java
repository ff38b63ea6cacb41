package org.sparkpeft.federated.cli;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.apache.parquet.column.ParquetProperties.WriterVersion;
import org.apache.parquet.conf.ParquetConfiguration;
import org.apache.parquet.conf.PlainParquetConfiguration;
import org.apache.parquet.example.data.Group;
import org.apache.parquet.example.data.simple.SimpleGroupFactory;
import org.apache.parquet.hadoop.ParquetReader;
import org.apache.parquet.hadoop.ParquetWriter;
import org.apache.parquet.hadoop.api.ReadSupport;
import org.apache.parquet.hadoop.example.ExampleParquetWriter;
import org.apache.parquet.hadoop.example.GroupReadSupport;
import org.apache.parquet.hadoop.metadata.CompressionCodecName;
import org.apache.parquet.io.InputFile;
import org.apache.parquet.io.LocalInputFile;
import org.apache.parquet.io.LocalOutputFile;
import org.apache.parquet.schema.MessageType;
import org.apache.parquet.schema.MessageTypeParser;

/**
 * Kept entries as a Parquet file of (index, value), with delta-coded indices and zstd: what a
 * DataFrame of updates would be. A baseline to measure against.
 */
final class ParquetPairs {
  private static final MessageType SCHEMA =
      MessageTypeParser.parseMessageType(
          "message update { required int32 index; required float value; }");

  private ParquetPairs() {}

  /** Writes the entries of {@code values} at {@code kept}; returns the length of the file. */
  static long write(Path file, float[] values, int[] kept) {
    try {
      Files.deleteIfExists(file);
      SimpleGroupFactory groups = new SimpleGroupFactory(SCHEMA);
      try (ParquetWriter<Group> writer =
          ExampleParquetWriter.builder(new LocalOutputFile(file))
              .withConf((ParquetConfiguration) new PlainParquetConfiguration())
              .withType(SCHEMA)
              .withWriterVersion(WriterVersion.PARQUET_2_0)
              .withCompressionCodec(CompressionCodecName.ZSTD)
              .build()) {
        for (int index : kept) {
          writer.write(groups.newGroup().append("index", index).append("value", values[index]));
        }
      }
      return Files.size(file);
    } catch (IOException e) {
      throw new UncheckedIOException("cannot write " + file, e);
    }
  }

  /** Reads such a file into a vector of {@code size} entries. */
  static float[] read(Path file, int size) {
    float[] values = new float[size];
    try (ParquetReader<Group> reader = new Groups(new LocalInputFile(file)).build()) {
      for (Group group = reader.read(); group != null; group = reader.read()) {
        values[group.getInteger(0, 0)] = group.getFloat(1, 0);
      }
    } catch (IOException e) {
      throw new UncheckedIOException("cannot read " + file, e);
    }
    return values;
  }

  private static final class Groups extends ParquetReader.Builder<Group> {
    Groups(InputFile file) {
      super(file, new PlainParquetConfiguration());
    }

    @Override
    protected ReadSupport<Group> getReadSupport() {
      return new GroupReadSupport();
    }
  }
}
