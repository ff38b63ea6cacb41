package org.sparkpeft.core.data;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.ToIntFunction;
import java.util.zip.CRC32C;
import org.apache.arrow.memory.BufferAllocator;
import org.apache.arrow.memory.RootAllocator;
import org.apache.arrow.vector.Float4Vector;
import org.apache.arrow.vector.IntVector;
import org.apache.arrow.vector.VectorSchemaRoot;
import org.apache.arrow.vector.complex.ListVector;
import org.apache.arrow.vector.ipc.ArrowStreamReader;
import org.apache.arrow.vector.ipc.ArrowStreamWriter;
import org.apache.arrow.vector.types.FloatingPointPrecision;
import org.apache.arrow.vector.types.pojo.ArrowType;
import org.apache.arrow.vector.types.pojo.Field;
import org.apache.arrow.vector.types.pojo.FieldType;
import org.apache.arrow.vector.types.pojo.Schema;
import org.apache.arrow.vector.util.ValueVectorUtility;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.error.FormatException;

/**
 * Examples as bytes: magic, version, CRC32C and length of what follows (4 bytes each, big-endian),
 * then one Arrow IPC stream with list columns {@code tokens}, {@code pair}, {@code classes}, {@code
 * shape}, {@code task} (int32, empty for task 0), {@code values} and {@code input} (float32). The
 * checksum comes first because Arrow's reader trusts the lengths it finds. Examples live as long as
 * a run, so only this version is read.
 */
final class ExamplesFormat {
  private static final int MAGIC = 0x53504558; // "SPEX"
  private static final int VERSION = 3;
  private static final int HEADER = 16;
  private static final String SOURCE = "examples";

  /** Memory Arrow may use beside a multiple of the bytes: metadata and empty buffers. */
  private static final long SLACK = 1 << 20;

  /** What a Java array, and so a client's examples, can hold, with room for offsets. */
  private static final long MAX_BYTES = 1_900_000_000;

  private static final Schema SCHEMA =
      new Schema(
          List.of(
              list("tokens", new ArrowType.Int(32, true)),
              list("pair", new ArrowType.Int(32, true)),
              list("classes", new ArrowType.Int(32, true)),
              list("values", new ArrowType.FloatingPoint(FloatingPointPrecision.SINGLE)),
              list("input", new ArrowType.FloatingPoint(FloatingPointPrecision.SINGLE)),
              list("shape", new ArrowType.Int(32, true)),
              list("task", new ArrowType.Int(32, true))));

  private ExamplesFormat() {}

  private static Field list(String name, ArrowType item) {
    Field child = new Field("item", FieldType.notNullable(item), null);
    return new Field(name, FieldType.notNullable(new ArrowType.List()), List.of(child));
  }

  static byte[] write(List<Examples.Example> examples) {
    ByteArrayOutputStream stream = new ByteArrayOutputStream();
    long values = 0;
    for (Examples.Example e : examples) {
      values += e.tokens().length + e.pair().length + e.classes().length + e.values().length;
      values += e.input().length + e.shape().length + 1;
    }
    if (4 * values > MAX_BYTES) {
      throw new DataException(
          "the %,d examples of one client hold %,d numbers; at most %,d fit: spread them over more clients"
              .formatted(examples.size(), values, MAX_BYTES / 4));
    }
    long limit = SLACK + 16 * (values + 8L * examples.size());
    try (BufferAllocator allocator = new RootAllocator(limit);
        VectorSchemaRoot root = VectorSchemaRoot.create(SCHEMA, allocator)) {
      fillInts(root, "tokens", examples, Examples.Example::tokens);
      fillInts(root, "pair", examples, Examples.Example::pair);
      fillInts(root, "classes", examples, Examples.Example::classes);
      fillInts(root, "shape", examples, Examples.Example::shape);
      fillInts(root, "task", examples, e -> e.task() == 0 ? new int[0] : new int[] {e.task()});
      fillFloats(root, "values", examples, Examples.Example::values);
      fillFloats(root, "input", examples, Examples.Example::input);
      root.setRowCount(examples.size());
      try (ArrowStreamWriter writer = new ArrowStreamWriter(root, null, stream)) {
        writer.writeBatch();
      }
    } catch (IOException e) {
      throw new UncheckedIOException("cannot happen in memory", e);
    }
    byte[] content = stream.toByteArray();
    return ByteBuffer.allocate(HEADER + content.length)
        .putInt(MAGIC)
        .putInt(VERSION)
        .putInt(checksum(content, 0))
        .putInt(content.length)
        .put(content)
        .array();
  }

  private interface Ints {
    int[] of(Examples.Example example);
  }

  private static void fillInts(
      VectorSchemaRoot root, String column, List<Examples.Example> examples, Ints ints) {
    ListVector lists = (ListVector) root.getVector(column);
    IntVector items = (IntVector) lists.getDataVector();
    allocate(lists, examples, e -> ints.of(e).length);
    int at = 0;
    for (int row = 0; row < examples.size(); row++) {
      int[] values = ints.of(examples.get(row));
      lists.startNewValue(row);
      for (int value : values) {
        items.setSafe(at++, value);
      }
      lists.endValue(row, values.length);
    }
    items.setValueCount(at);
    lists.setValueCount(examples.size());
  }

  private interface Floats {
    float[] of(Examples.Example example);
  }

  private static void fillFloats(
      VectorSchemaRoot root, String column, List<Examples.Example> examples, Floats floats) {
    ListVector lists = (ListVector) root.getVector(column);
    Float4Vector items = (Float4Vector) lists.getDataVector();
    allocate(lists, examples, e -> floats.of(e).length);
    int at = 0;
    for (int row = 0; row < examples.size(); row++) {
      float[] values = floats.of(examples.get(row));
      lists.startNewValue(row);
      for (float value : values) {
        items.setSafe(at++, value);
      }
      lists.endValue(row, values.length);
    }
    items.setValueCount(at);
    lists.setValueCount(examples.size());
  }

  private static void allocate(
      ListVector lists, List<Examples.Example> examples, ToIntFunction<Examples.Example> length) {
    lists.setInitialCapacity(Math.max(1, examples.size()));
    lists.getDataVector().setInitialCapacity(Math.max(1, examples.stream().mapToInt(length).sum()));
    lists.allocateNew();
  }

  static List<Examples.Example> read(byte[] bytes) {
    if (bytes.length < HEADER) {
      throw new FormatException(
          SOURCE, bytes.length, "needs at least " + HEADER + " bytes, has " + bytes.length);
    }
    ByteBuffer header = ByteBuffer.wrap(bytes, 0, HEADER);
    int magic = header.getInt();
    int version = header.getInt();
    int checksum = header.getInt();
    int length = header.getInt();
    if (magic != MAGIC) {
      throw new FormatException(SOURCE, 0, "does not start with SPEX; these are not examples");
    }
    if (version != VERSION) {
      throw new FormatException(
          SOURCE, 4, "has version " + version + ", this program reads " + VERSION);
    }
    if (length != bytes.length - HEADER) {
      throw new FormatException(
          SOURCE, 12, "promises " + length + " bytes, has " + (bytes.length - HEADER));
    }
    if (checksum(bytes, HEADER) != checksum) {
      throw new FormatException(SOURCE, 8, "fails its checksum; the bytes were damaged");
    }
    return readArrow(new ByteArrayInputStream(bytes, HEADER, length), SLACK + 8L * length);
  }

  private static List<Examples.Example> readArrow(ByteArrayInputStream stream, long limit) {
    try (BufferAllocator allocator = new RootAllocator(limit);
        ArrowStreamReader reader = new ArrowStreamReader(stream, allocator)) {
      VectorSchemaRoot root = reader.getVectorSchemaRoot();
      if (!root.getSchema().equals(SCHEMA)) {
        throw new FormatException(SOURCE, "has other columns: " + root.getSchema());
      }
      List<Examples.Example> examples = new ArrayList<>();
      while (reader.loadNextBatch()) {
        ValueVectorUtility.validateFull(root);
        for (int row = 0; row < root.getRowCount(); row++) {
          examples.add(
              new Examples.Example(
                  ints(root, "tokens", row),
                  ints(root, "pair", row),
                  ints(root, "classes", row),
                  floats(root, "values", row),
                  floats(root, "input", row),
                  ints(root, "shape", row),
                  task(ints(root, "task", row))));
        }
      }
      return examples;
    } catch (FormatException e) {
      throw e;
    } catch (IOException | RuntimeException e) { // Arrow reports bad bytes in a dozen ways
      throw new FormatException(SOURCE, "is not a valid Arrow stream", e);
    }
  }

  private static int task(int[] numbers) {
    boolean first = numbers.length == 0;
    if (!first && (numbers.length > 1 || numbers[0] < 1 || numbers[0] >= Examples.MAX_TASKS)) {
      throw new FormatException(
          SOURCE,
          "has the tasks "
              + Arrays.toString(Arrays.copyOf(numbers, Math.min(4, numbers.length)))
              + " for one example; one in 1.."
              + (Examples.MAX_TASKS - 1)
              + " or none is possible");
    }
    return first ? 0 : numbers[0];
  }

  private static int[] ints(VectorSchemaRoot root, String column, int row) {
    ListVector lists = (ListVector) root.getVector(column);
    IntVector items = (IntVector) lists.getDataVector();
    int start = lists.getElementStartIndex(row);
    int[] values =
        new int[checkedLength(start, lists.getElementEndIndex(row), items.getValueCount())];
    for (int i = 0; i < values.length; i++) {
      values[i] = items.get(start + i);
    }
    return values;
  }

  private static float[] floats(VectorSchemaRoot root, String column, int row) {
    ListVector lists = (ListVector) root.getVector(column);
    Float4Vector items = (Float4Vector) lists.getDataVector();
    int start = lists.getElementStartIndex(row);
    float[] values =
        new float[checkedLength(start, lists.getElementEndIndex(row), items.getValueCount())];
    for (int i = 0; i < values.length; i++) {
      values[i] = items.get(start + i);
    }
    return values;
  }

  private static int checkedLength(int start, int end, int count) {
    if (start < 0 || end < start || end > count) {
      throw new FormatException(
          SOURCE, "a list runs from " + start + " to " + end + " of " + count + " items");
    }
    return end - start;
  }

  private static int checksum(byte[] bytes, int from) {
    CRC32C crc = new CRC32C();
    crc.update(bytes, from, bytes.length - from);
    return (int) crc.getValue();
  }
}
