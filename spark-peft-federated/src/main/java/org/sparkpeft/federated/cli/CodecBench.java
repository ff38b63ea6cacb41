package org.sparkpeft.federated.cli;

import com.github.luben.zstd.Zstd;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SplittableRandom;
import java.util.TreeMap;
import java.util.zip.DataFormatException;
import java.util.zip.Deflater;
import java.util.zip.Inflater;
import org.sparkpeft.core.io.AdapterDirectory;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.TaskVector;
import org.sparkpeft.merge.compress.Codec;
import org.sparkpeft.merge.compress.EntropyBound;
import org.sparkpeft.merge.compress.Payload;
import org.sparkpeft.merge.compress.PayloadHeader;
import org.sparkpeft.merge.compress.Pipeline;
import org.sparkpeft.merge.compress.TopKSelection;

/** Size and speed of ternary payloads, and of what else one might do. */
final class CodecBench {
  static final List<String> COLUMNS =
      List.of(
          "vector",
          "entries",
          "density",
          "codec",
          "bits_per_parameter",
          "entropy_bound",
          "encode_gb_per_s",
          "decode_gb_per_s");

  /** Rank and width of the factors of {@link #adapterLike}. */
  private static final int RANK = 16;

  private static final int WIDTH = 1024;

  private CodecBench() {}

  static List<Map<String, Object>> run(
      int entries, List<Double> densities, Optional<Path> adapter) {
    Map<String, TaskVector> vectors = new LinkedHashMap<>();
    vectors.put("gaussian", synthetic(entries, false));
    vectors.put("heavy-tailed", synthetic(entries, true));
    vectors.put("adapter-like", adapterLike(entries));
    adapter.ifPresent(dir -> vectors.put("adapter", values(dir)));
    List<Map<String, Object>> rows = new ArrayList<>();
    vectors.forEach(
        (name, vector) -> {
          for (double density : densities) {
            measure(name, vector, density, rows);
          }
        });
    return rows;
  }

  private static TaskVector synthetic(int entries, boolean heavyTailed) {
    SplittableRandom random = new SplittableRandom(17);
    float[] values = new float[entries];
    for (int i = 0; i < entries; i++) {
      double normal = normal(random);
      values[i] = (float) (heavyTailed ? normal * normal * normal : normal);
    }
    return TaskVector.wrap(ParameterLayout.of(Map.of("w", List.of(entries))), values);
  }

  /**
   * LoRA factors of rank 16 of layers 1024 wide: modules differ in how much they moved, and so do
   * the ranks of a factor; values are heavy-tailed.
   */
  private static TaskVector adapterLike(int entries) {
    int modules = Math.max(1, entries / (2 * RANK * WIDTH));
    Map<String, List<Integer>> shapes = new TreeMap<>();
    for (int module = 0; module < modules; module++) {
      shapes.put("layers.%03d.lora_A.weight".formatted(module), List.of(RANK, WIDTH));
      shapes.put("layers.%03d.lora_B.weight".formatted(module), List.of(WIDTH, RANK));
    }
    ParameterLayout layout = ParameterLayout.of(shapes);
    SplittableRandom random = new SplittableRandom(23);
    float[] values = new float[layout.size()];
    for (ParameterLayout.Entry entry : layout.entries()) {
      double ofModule = Math.exp(0.5 * normal(random));
      double[] ofRank = random.doubles(RANK).map(u -> ofModule * Math.exp(u - 0.5)).toArray();
      boolean rankIsRow = entry.shape().get(0) == RANK;
      for (int i = 0; i < entry.size(); i++) {
        double normal = normal(random);
        int rank = rankIsRow ? i / WIDTH : i % RANK;
        values[entry.offset() + i] = (float) (ofRank[rank] * normal * (1 + normal * normal));
      }
    }
    return TaskVector.wrap(layout, values);
  }

  private static double normal(SplittableRandom random) {
    return Math.sqrt(-2 * Math.log(1 - random.nextDouble()))
        * Math.cos(2 * Math.PI * random.nextDouble());
  }

  private static TaskVector values(Path dir) {
    AdapterDirectory adapter = AdapterDirectory.read(dir);
    Map<String, List<Integer>> shapes = new TreeMap<>();
    adapter.tensors().forEach((name, tensor) -> shapes.put(name, tensor.shape()));
    ParameterLayout layout = ParameterLayout.of(shapes);
    float[] values = new float[layout.size()];
    int at = 0;
    for (TensorData tensor : adapter.tensors().values()) {
      System.arraycopy(tensor.toFloats(), 0, values, at, tensor.elements());
      at += tensor.elements();
    }
    return TaskVector.wrap(layout, values);
  }

  private static void measure(
      String name, TaskVector vector, double density, List<Map<String, Object>> rows) {
    PayloadHeader header = PayloadHeader.of(0, "bench", vector.layout());
    for (String coder : List.of("", "|range", "|rans", "|rice", "|golomb", "|bitmask")) {
      Codec codec = Codec.of(Pipeline.parse("topk(" + density + ")|ternary(mean)" + coder));
      byte[] payload = codec.encode(vector, header);
      double bound = Payload.decode(payload, vector.layout()).statistics().boundBits();
      double encode = Stopwatch.best(() -> codec.encode(vector, header));
      double decode = Stopwatch.best(() -> Payload.decode(payload, vector.layout()));
      String shown = "ternary" + (coder.isEmpty() ? "|auto" : coder);
      rows.add(row(name, vector, density, shown, 8.0 * payload.length, bound, encode, decode));
    }
    baselines(name, vector, density, rows);
  }

  /** One byte for each entry, given to compressors that know nothing of it. */
  private static void baselines(
      String name, TaskVector vector, double density, List<Map<String, Object>> rows) {
    float[] values = vector.toArray();
    int k = TopKSelection.keptCount(density, values.length);
    double bound = EntropyBound.ternaryBits(values.length, k) + 32;
    byte[] ternary = ternary(values, TopKSelection.indices(values, 0, values.length, k));
    double select =
        Stopwatch.best(() -> ternary(values, TopKSelection.indices(values, 0, values.length, k)));
    double sort = Stopwatch.best(() -> ternary(values, bySorting(values, k)));
    rows.add(row(name, vector, density, "selection alone", null, bound, select, null));
    rows.add(row(name, vector, density, "sorting alone", null, bound, sort, null));
    byte[] zlib = zlib(ternary);
    double zlibEncode = Stopwatch.best(() -> zlib(ternary));
    double zlibDecode = Stopwatch.best(() -> unzlib(zlib, ternary.length));
    rows.add(
        row(
            name,
            vector,
            density,
            "zlib",
            8.0 * zlib.length,
            bound,
            sort + zlibEncode,
            zlibDecode));
    byte[] zstd = Zstd.compress(ternary, 3);
    double zstdEncode = Stopwatch.best(() -> Zstd.compress(ternary, 3));
    double zstdDecode = Stopwatch.best(() -> Zstd.decompress(zstd, ternary.length));
    rows.add(
        row(
            name,
            vector,
            density,
            "zstd",
            8.0 * zstd.length,
            bound,
            sort + zstdEncode,
            zstdDecode));
    parquet(name, vector, density, bound, select, rows);
  }

  /** The kept entries as a DataFrame would store them; to files, in the page cache. */
  private static void parquet(
      String name,
      TaskVector vector,
      double density,
      double bound,
      double select,
      List<Map<String, Object>> rows) {
    float[] values = vector.toArray();
    int k = TopKSelection.keptCount(density, values.length);
    int[] kept = TopKSelection.indices(values, 0, values.length, k);
    try {
      Path file = Files.createTempFile("spark-peft-bench", ".parquet");
      try {
        long bytes = ParquetPairs.write(file, values, kept);
        double write = Stopwatch.best(() -> ParquetPairs.write(file, values, kept));
        double read = Stopwatch.best(() -> ParquetPairs.read(file, values.length));
        rows.add(row(name, vector, density, "parquet", 8.0 * bytes, bound, select + write, read));
      } finally {
        Files.deleteIfExists(file);
      }
    } catch (IOException e) {
      throw new UncheckedIOException("cannot write a temporary file", e);
    }
  }

  private static Map<String, Object> row(
      String name,
      TaskVector vector,
      double density,
      String codec,
      @org.jspecify.annotations.Nullable Double bits,
      double bound,
      @org.jspecify.annotations.Nullable Double encodeSeconds,
      @org.jspecify.annotations.Nullable Double decodeSeconds) {
    double size = vector.size();
    Map<String, Object> row = new LinkedHashMap<>();
    row.put("vector", name);
    row.put("entries", vector.size());
    row.put("density", density);
    row.put("codec", codec);
    if (bits != null) {
      row.put("bits_per_parameter", bits / size);
    }
    row.put("entropy_bound", bound / size);
    if (encodeSeconds != null) {
      row.put("encode_gb_per_s", 4 * size / 1e9 / encodeSeconds);
    }
    if (decodeSeconds != null) {
      row.put("decode_gb_per_s", 4 * size / 1e9 / decodeSeconds);
    }
    return row;
  }

  private static byte[] ternary(float[] values, int[] kept) {
    byte[] bytes = new byte[values.length];
    for (int i : kept) {
      bytes[i] = (byte) (values[i] > 0 ? 1 : -1);
    }
    return bytes;
  }

  private static int[] bySorting(float[] values, int k) {
    float[] magnitudes = new float[values.length];
    for (int i = 0; i < values.length; i++) {
      magnitudes[i] = Math.abs(values[i]);
    }
    Arrays.sort(magnitudes);
    float threshold = magnitudes[values.length - k];
    int[] kept = new int[k];
    int n = 0;
    for (int i = 0; i < values.length && n < k; i++) {
      if (Math.abs(values[i]) >= threshold) {
        kept[n++] = i;
      }
    }
    return kept;
  }

  private static byte[] zlib(byte[] bytes) {
    Deflater deflater = new Deflater();
    deflater.setInput(bytes);
    deflater.finish();
    byte[] packed = new byte[bytes.length + 1024];
    int length = deflater.deflate(packed);
    deflater.end();
    return Arrays.copyOf(packed, length);
  }

  private static byte[] unzlib(byte[] packed, int length) {
    Inflater inflater = new Inflater();
    try {
      inflater.setInput(packed);
      byte[] bytes = new byte[length];
      if (inflater.inflate(bytes) != length) {
        throw new IllegalStateException("zlib gave back too little");
      }
      return bytes;
    } catch (DataFormatException e) {
      throw new IllegalStateException("zlib cannot read what it wrote", e);
    } finally {
      inflater.end();
    }
  }
}
