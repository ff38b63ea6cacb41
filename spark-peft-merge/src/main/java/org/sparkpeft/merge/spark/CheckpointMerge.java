package org.sparkpeft.merge.spark;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.io.Serializable;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.stream.IntStream;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.io.AtomicFiles;
import org.sparkpeft.core.io.DType;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.io.Sha256;
import org.sparkpeft.core.io.StoredTensor;
import org.sparkpeft.core.io.TensorInfo;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.merge.method.Block;
import org.sparkpeft.merge.method.BlockwiseMethod;
import org.sparkpeft.merge.method.KeepRule;
import org.sparkpeft.merge.method.TensorPlan;
import org.sparkpeft.merge.method.VectorIdentity;
import org.sparkpeft.merge.method.VectorOrder;

/**
 * Writes a model directory whose tensors are merged from those of others. Finished shards lie in a
 * hidden folder beside the target until all are there; a merge that was killed goes on from them.
 * The result is not forced to disk: after a power failure within the next minute, merge again.
 */
public final class CheckpointMerge {
  private static final Logger LOG = LoggerFactory.getLogger(CheckpointMerge.class);

  /** What a merge may use at least: less does not hold the buffers of one thread. */
  private static final long LEAST_MEMORY = 64L << 20;

  /** Entries of a piece: small enough to share out evenly, large enough not to count. */
  public static final long PIECE_ENTRIES = 1L << 22;

  private static final String PARTIAL = ".merging";

  private final List<MergedTensor> tensors;
  private final Settings settings;
  private final Workers workers;
  private final MergeListener listener;

  /**
   * Where and how the result is written.
   *
   * @param out the new model directory
   * @param config its config.json
   * @param companions tokenizer and other files to copy into it
   * @param maxShardBytes most bytes of tensors in a file; 5 GB is usual
   * @param memoryBytes most bytes of buffers, of all threads together
   * @param pieceEntries entries of a piece of work; changes no bit of the result
   */
  public record Settings(
      Path out,
      JsonNode config,
      List<Path> companions,
      long maxShardBytes,
      long memoryBytes,
      long pieceEntries) {
    public Settings {
      companions = List.copyOf(companions);
      if (maxShardBytes < 1 || memoryBytes < LEAST_MEMORY || pieceEntries < 1) {
        throw new IllegalArgumentException(
            "a shard needs at least 1 byte, a merge "
                + LEAST_MEMORY
                + " bytes of memory and pieces an entry, got "
                + maxShardBytes
                + ", "
                + memoryBytes
                + " and "
                + pieceEntries);
      }
    }

    /** Shards of 5 GB and 1 GiB of memory. */
    public static Settings of(Path out, JsonNode config, List<Path> companions) {
      return new Settings(out, config, companions, 5_000_000_000L, 1L << 30, PIECE_ENTRIES);
    }
  }

  /**
   * What came of it.
   *
   * @param tensors number of tensors
   * @param merged how many of them were merged, not copied
   * @param bytes bytes of all
   * @param bytesRead bytes of the inputs, each counted once
   * @param shards files
   * @param shardsKept files an earlier attempt had finished
   * @param seconds time taken
   */
  public record Summary(
      int tensors,
      int merged,
      long bytes,
      long bytesRead,
      int shards,
      int shardsKept,
      double seconds) {}

  public CheckpointMerge(
      List<MergedTensor> tensors, Settings settings, Workers workers, MergeListener listener) {
    this.tensors = List.copyOf(tensors);
    this.settings = settings;
    this.workers = workers;
    this.listener = listener;
    if (tensors.isEmpty()) {
      throw new IllegalArgumentException("there is nothing to merge");
    }
  }

  /** Bytes the result takes. */
  public long bytes() {
    return tensors.stream().mapToLong(MergedTensor::bytes).sum();
  }

  /**
   * Merges.
   *
   * @throws DataException if values are not finite, the disk is too small, or {@code out} holds
   *     anything but a model
   */
  public Summary run() {
    long start = System.nanoTime();
    Path out = settings.out().toAbsolutePath().normalize();
    ModelDirectory.requireReplaceable(out);
    requireMemory();
    Path folder = out.resolveSibling("." + out.getFileName() + PARTIAL);
    List<ShardPlan.Shard> shards = ShardPlan.of(tensors, settings.maxShardBytes());
    try {
      Files.createDirectories(folder);
      MergeJournal journal = MergeJournal.open(folder, fingerprint());
      List<ShardPlan.Shard> open = new ArrayList<>();
      for (ShardPlan.Shard shard : shards) {
        if (!journal.holds(shard.name(), shard.layout().header(), shard.layout().fileBytes())) {
          open.add(shard);
        }
      }
      if (open.size() < shards.size()) {
        LOG.info("{} of {} files are there already", shards.size() - open.size(), shards.size());
      }
      requireSpace(folder, open);
      merge(folder, journal, open);
      finish(out, folder, shards);
      return new Summary(
          tensors.size(),
          (int) tensors.stream().filter(t -> t.method() != null).count(),
          bytes(),
          bytesRead(),
          shards.size(),
          shards.size() - open.size(),
          (System.nanoTime() - start) / 1e9);
    } catch (IOException e) {
      throw new UncheckedIOException("cannot write " + folder, e);
    }
  }

  private long bytesRead() {
    long sum = 0;
    for (MergedTensor tensor : tensors) {
      for (StoredTensor source : tensor.sources()) {
        sum += source.bytes();
      }
      sum += tensor.base() == null ? 0 : tensor.base().bytes();
    }
    return sum;
  }

  private void finish(Path out, Path folder, List<ShardPlan.Shard> shards) throws IOException {
    SortedMap<String, String> shardOf = new TreeMap<>(ParameterLayout.UTF8_ORDER);
    Map<DType, Long> types = new HashMap<>();
    for (ShardPlan.Shard shard : shards) {
      for (MergedTensor tensor : shard.tensors().values()) {
        shardOf.put(tensor.name(), shard.name());
        types.merge(tensor.dtype(), tensor.elements(), Long::sum);
      }
    }
    DType main =
        types.entrySet().stream()
            .filter(entry -> entry.getKey().isFloating())
            .max(
                Map.Entry.<DType, Long>comparingByValue().thenComparing(Map.Entry.comparingByKey()))
            .map(Map.Entry::getKey)
            .orElse(DType.F32);
    ModelDirectory.complete(
        folder, settings.config(), main, shardOf, bytes(), settings.companions());
    Files.deleteIfExists(folder.resolve(MergeJournal.FILE));
    AtomicFiles.replaceDirectory(out, folder);
  }

  /** The buffers of a thread: bytes, floats and sums of a block for each vector. */
  private void requireMemory() {
    long most = 0;
    String where = "";
    for (MergedTensor tensor : tensors) {
      // Only methods that need whole rows have blocks as long as those; they are few.
      long entries = Math.max(Block.USUAL, tensor.columns());
      long need = entries * (32L * tensor.sources().size() + 64);
      if (need > most) {
        most = need;
        where = tensor.name();
      }
    }
    if (most * workers.parallelism() > settings.memoryBytes()) {
      throw new DataException(
          "rows of "
              + where
              + " need "
              + most * workers.parallelism()
              + " bytes in memory on "
              + workers.parallelism()
              + " threads, "
              + settings.memoryBytes()
              + " are allowed; allow more, or use fewer threads");
    }
  }

  private static void requireSpace(Path folder, List<ShardPlan.Shard> open) throws IOException {
    long need = open.stream().mapToLong(shard -> shard.layout().fileBytes()).sum();
    long usable = Files.getFileStore(folder).getUsableSpace();
    if (need > usable) {
      throw new DataException(
          "the result takes "
              + need
              + " bytes, "
              + folder.getParent()
              + " has room for "
              + usable
              + "; free some space or choose another place");
    }
  }

  /** Identity of everything that decides the result, the inputs by size and time of change. */
  private String fingerprint() throws IOException {
    Sha256 sha = new Sha256();
    Map<String, String> files = new TreeMap<>();
    for (MergedTensor tensor : tensors) {
      sha.update(tensor.toString());
      List<StoredTensor> inputs = new ArrayList<>(tensor.sources());
      if (tensor.base() != null) {
        inputs.add(tensor.base());
      }
      for (StoredTensor input : inputs) {
        if (!files.containsKey(input.file())) {
          Path path = Path.of(input.file());
          files.put(input.file(), Files.size(path) + " " + Files.getLastModifiedTime(path));
        }
      }
    }
    return sha.update(files.toString()).update("" + settings.maxShardBytes()).hex();
  }

  private void merge(Path folder, MergeJournal journal, List<ShardPlan.Shard> open)
      throws IOException {
    if (open.isEmpty()) {
      return;
    }
    Map<String, Prepared> prepared = prepare(open);
    long total = bytes();
    long done = total - open.stream().mapToLong(CheckpointMerge::bytes).sum();
    for (ShardPlan.Shard shard : open) {
      long before = done;
      List<PieceMerge.Written> written =
          merge(
              folder,
              shard,
              prepared,
              bytes -> listener.progress("merging", before + bytes, total));
      journal.finished(shard.name(), written);
      done += bytes(shard);
    }
  }

  private static long bytes(ShardPlan.Shard shard) {
    return shard.tensors().values().stream().mapToLong(MergedTensor::bytes).sum();
  }

  private List<PieceMerge.Written> merge(
      Path folder,
      ShardPlan.Shard shard,
      Map<String, Prepared> prepared,
      java.util.function.LongConsumer progress)
      throws IOException {
    Path temporary = folder.resolve(shard.name() + ".part");
    allocate(temporary, shard);
    List<PieceMerge.Task> tasks = new ArrayList<>();
    for (TensorInfo info : shard.layout().tensors()) {
      MergedTensor tensor = Objects.requireNonNull(shard.tensors().get(info.name()));
      Prepared ready = prepared.get(info.name());
      int columns = ready == null || !ready.plan().wholeRows() ? 1 : tensor.columns();
      for (Piece piece : Piece.cut(0, tensor.elements(), columns, settings.pieceEntries())) {
        tasks.add(
            new PieceMerge.Task(
                ready == null ? tensor : ready.tensor(),
                ready == null ? null : ready.plan(),
                piece.from(),
                piece.to(),
                info.offset()));
      }
    }
    List<PieceMerge.Written> written = new ArrayList<>();
    workers.run(batches(temporary, tasks), PieceMerge::run, progress).forEach(written::addAll);
    Files.move(
        temporary,
        folder.resolve(shard.name()),
        StandardCopyOption.ATOMIC_MOVE,
        StandardCopyOption.REPLACE_EXISTING);
    return written;
  }

  private List<PieceMerge.Batch> batches(Path file, List<PieceMerge.Task> tasks) {
    List<PieceMerge.Batch> batches = new ArrayList<>();
    List<PieceMerge.Task> open = new ArrayList<>();
    long entries = 0;
    for (PieceMerge.Task task : tasks) {
      open.add(task);
      entries += task.to() - task.from();
      if (entries >= settings.pieceEntries()) {
        batches.add(new PieceMerge.Batch(file.toString(), List.copyOf(open)));
        open.clear();
        entries = 0;
      }
    }
    if (!open.isEmpty()) {
      batches.add(new PieceMerge.Batch(file.toString(), List.copyOf(open)));
    }
    return batches;
  }

  private static void allocate(Path file, ShardPlan.Shard shard) throws IOException {
    try (FileChannel channel =
        FileChannel.open(
            file,
            StandardOpenOption.CREATE,
            StandardOpenOption.TRUNCATE_EXISTING,
            StandardOpenOption.WRITE)) {
      ByteBuffer header = shard.layout().header().duplicate();
      while (header.hasRemaining()) {
        channel.write(header);
      }
      if (shard.layout().fileBytes() > header.limit()) {
        channel.write(ByteBuffer.wrap(new byte[1]), shard.layout().fileBytes() - 1);
      }
    }
  }

  /** A tensor with its sources in merging order, and its plan. */
  private record Prepared(MergedTensor tensor, TensorPlan plan) {}

  /** What a plan is made of, on whichever machine. */
  @SuppressWarnings("ArrayRecordComponent") // Travels, is never compared.
  private record PlanInput(MergedTensor tensor, List<KeepRule> trims, long[] identities)
      implements Serializable {}

  private Map<String, Prepared> prepare(List<ShardPlan.Shard> open) {
    List<MergedTensor> merged = mergedInOrder();
    Map<String, Prepared> prepared = new HashMap<>();
    if (merged.isEmpty()) {
      return prepared;
    }
    BlockwiseMethod method = Objects.requireNonNull(merged.get(0).method());
    long total = merged.stream().mapToLong(MergedTensor::bytes).sum();
    List<KeepRule> trims = List.of();
    long[] offsets = new long[merged.size()];
    if (method.trimsGlobally()) {
      GlobalTrim trim =
          new GlobalTrim(
              merged,
              workers,
              settings.pieceEntries(),
              GlobalTrim.Sampling.USUAL,
              bytes -> listener.progress("selecting", Math.min(bytes, total), total));
      trims = trim.rules();
      offsets = IntStream.range(0, offsets.length).mapToLong(trim::offset).toArray();
    }
    long[] identities =
        method.draws() ? identities(merged) : new long[merged.get(0).sources().size()];
    List<PlanInput> inputs = new ArrayList<>();
    for (int i = 0; i < merged.size(); i++) {
      MergedTensor tensor = merged.get(i);
      long offset = offsets[i];
      boolean needed = open.stream().anyMatch(shard -> shard.tensors().containsKey(tensor.name()));
      if (needed) {
        inputs.add(
            new PlanInput(
                tensor, trims.stream().map(rule -> rule.from(offset)).toList(), identities));
      }
    }
    List<TensorPlan> plans =
        workers.run(
            inputs, CheckpointMerge::plan, bytes -> listener.progress("planning", bytes, total));
    for (int i = 0; i < plans.size(); i++) {
      prepared.put(
          inputs.get(i).tensor().name(), new Prepared(inputs.get(i).tensor(), plans.get(i)));
    }
    return prepared;
  }

  private static TensorPlan plan(PlanInput input, java.util.function.LongConsumer progress) {
    MergedTensor tensor = input.tensor();
    BlockwiseMethod method = Objects.requireNonNull(tensor.method());
    TensorPlan plan =
        method.plan(
            new VectorReader.Scan(tensor, input.identities()), tensor.shares(), input.trims());
    progress.accept(tensor.bytes());
    return plan;
  }

  /** The tensors that are merged, in layout order, their sources in merging order. */
  private List<MergedTensor> mergedInOrder() {
    List<MergedTensor> merged = new ArrayList<>();
    for (MergedTensor tensor : tensors) {
      if (tensor.method() != null && tensor.elements() > 0) {
        merged.add(tensor);
      }
    }
    merged.sort((a, b) -> ParameterLayout.UTF8_ORDER.compare(a.name(), b.name()));
    if (merged.isEmpty()) {
      return merged;
    }
    BlockwiseMethod method = Objects.requireNonNull(merged.get(0).method());
    int vectors = merged.get(0).sources().size();
    for (MergedTensor tensor : merged) {
      BlockwiseMethod other = Objects.requireNonNull(tensor.method());
      if (tensor.sources().size() != vectors
          || other.trimsGlobally() != method.trimsGlobally()
          || other.ordered() != method.ordered()) {
        throw new IllegalArgumentException(
            "all tensors must come from as many models by one kind of method; "
                + tensor.name()
                + " does not");
      }
      method.check(tensor.shares());
    }
    if (vectors > 1 && !method.ordered()) {
      int[] order = order(merged);
      merged.replaceAll(tensor -> tensor.ordered(order));
    }
    return merged;
  }

  private static int[] order(List<MergedTensor> merged) {
    int vectors = merged.get(0).sources().size();
    Comparator<Integer> comparator =
        (a, b) -> {
          int byValues = compareValues(merged, a, b);
          return byValues != 0
              ? byValues
              : VectorOrder.compare(merged.get(0).shares().get(a), merged.get(0).shares().get(b));
        };
    return IntStream.range(0, vectors)
        .boxed()
        .sorted(comparator)
        .mapToInt(Integer::intValue)
        .toArray();
  }

  /** Usually decided within the first block. */
  private static int compareValues(List<MergedTensor> merged, int a, int b) {
    try (VectorReader reader = VectorReader.scattered(2, Block.USUAL)) {
      for (MergedTensor tensor : merged) {
        MergedTensor pair = tensor.ordered(a, b);
        for (long at = 0; at < tensor.elements(); at += Block.USUAL) {
          int n = (int) Math.min(Block.USUAL, tensor.elements() - at);
          Block block = reader.read(pair, at, n);
          int order = VectorOrder.compare(block.values(0), block.values(1), n);
          if (order != 0) {
            return order;
          }
        }
      }
    }
    return 0;
  }

  private static long[] identities(List<MergedTensor> merged) {
    int vectors = merged.get(0).sources().size();
    VectorIdentity[] identities = new VectorIdentity[vectors];
    for (int t = 0; t < vectors; t++) {
      identities[t] = new VectorIdentity();
    }
    try (VectorReader reader = VectorReader.scattered(vectors, 1)) {
      for (MergedTensor tensor : merged) {
        List<List<Float>> values = new ArrayList<>();
        for (int t = 0; t < vectors; t++) {
          values.add(new ArrayList<>());
        }
        for (long position : VectorIdentity.positions(tensor.elements())) {
          Block block = reader.read(tensor, position, 1);
          for (int t = 0; t < vectors; t++) {
            values.get(t).add(block.values(t)[0]);
          }
        }
        for (int t = 0; t < vectors; t++) {
          identities[t].add(values.get(t));
        }
      }
    }
    long[] numbers = new long[vectors];
    for (int t = 0; t < vectors; t++) {
      numbers[t] = identities[t].value();
    }
    return numbers;
  }
}
