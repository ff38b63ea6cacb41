package org.sparkpeft.merge.spark;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.TreeSet;
import org.slf4j.LoggerFactory;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.io.DType;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.io.Sha256;
import org.sparkpeft.core.io.StoredTensor;
import org.sparkpeft.core.io.TensorInfo;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.merge.storage.Storage;

/**
 * Writes a model directory whose tensors are merged from those of others, all of them on this
 * machine or on Hadoop file systems. Finished shards lie in a hidden folder beside the target until
 * all are there; a merge that was killed goes on from them. On this machine the result is not
 * forced to disk: after a power failure within the next minute, merge again.
 */
public final class CheckpointMerge {
  private final List<MergedTensor> tensors;
  private final MergeSettings settings;
  private final Workers workers;
  private final MergeListener listener;

  public CheckpointMerge(
      List<MergedTensor> tensors, MergeSettings settings, Workers workers, MergeListener listener) {
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
  public MergeSummary run() {
    long start = System.nanoTime();
    BuildFolder folder = BuildFolder.of(settings.out());
    folder.requireReplaceableTarget();
    ReadPlan reading = ReadPlan.of(tensors, workers.parallelism(), settings.memoryBytes());
    List<ShardPlan.Shard> shards = ShardPlan.of(tensors, settings.maxShardBytes());
    try {
      folder.create();
      MergeJournal journal = MergeJournal.open(folder, fingerprint());
      List<ShardPlan.Shard> open = new ArrayList<>();
      for (ShardPlan.Shard shard : shards) {
        if (!journal.holds(shard)) {
          open.add(shard);
        }
      }
      if (open.size() < shards.size()) {
        // Not a constant: most merges have nothing to say, and logging takes half a second to
        // start.
        LoggerFactory.getLogger(CheckpointMerge.class)
            .info("{} of {} files are there already", shards.size() - open.size(), shards.size());
      }
      requireSpace(folder, open);
      if (!open.isEmpty()) {
        merge(folder, open, reading);
      }
      finish(folder, shards);
      return new MergeSummary(
          tensors.size(),
          (int) tensors.stream().filter(t -> t.method() != null).count(),
          bytes(),
          tensors.stream().flatMap(t -> t.inputs().stream()).mapToLong(StoredTensor::bytes).sum(),
          shards.size(),
          shards.size() - open.size(),
          (System.nanoTime() - start) / 1e9);
    } catch (IOException e) {
      throw new UncheckedIOException("cannot write " + folder.folder(), e);
    }
  }

  private static void requireSpace(BuildFolder folder, List<ShardPlan.Shard> open)
      throws IOException {
    long need = open.stream().mapToLong(shard -> shard.layout().fileBytes()).sum();
    long usable = folder.storage().usableBytes(folder.folder());
    if (need > usable) {
      throw new DataException(
          "the result takes "
              + need
              + " bytes, the place of "
              + folder.target()
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
      for (StoredTensor input : tensor.inputs()) {
        if (!files.containsKey(input.file())) {
          files.put(input.file(), Storage.of(input.file()).stamp(input.file()));
        }
      }
    }
    return sha.update(files.toString()).update("" + settings.maxShardBytes()).hex();
  }

  private void merge(BuildFolder folder, List<ShardPlan.Shard> open, ReadPlan reading)
      throws IOException {
    Map<String, MergePreparation.Prepared> prepared =
        new MergePreparation(workers, reading, settings.pieceEntries(), listener)
            .prepare(
                tensors,
                name -> open.stream().anyMatch(shard -> shard.tensors().containsKey(name)));
    long total = bytes();
    long done = total - open.stream().mapToLong(CheckpointMerge::bytes).sum();
    if (!folder.storage().writesAnywhere()) {
      long before = done;
      List<ShardStream.Job> jobs =
          open.stream()
              .map(
                  shard ->
                      ShardStream.Job.of(
                          folder, shard, tasks(shard, prepared, Long.MAX_VALUE), reading))
              .toList();
      workers.run(
          jobs, ShardStream::run, bytes -> listener.progress("merging", before + bytes, total));
      return;
    }
    for (ShardPlan.Shard shard : open) {
      long before = done;
      ShardInPlace.write(
          folder,
          shard,
          tasks(shard, prepared, settings.pieceEntries()),
          reading,
          workers,
          settings.pieceEntries(),
          bytes -> listener.progress("merging", before + bytes, total));
      done += bytes(shard);
    }
  }

  private static long bytes(ShardPlan.Shard shard) {
    return shard.tensors().values().stream().mapToLong(MergedTensor::bytes).sum();
  }

  /** The pieces of a shard, in the order of the file. */
  private static List<PieceMerge.Task> tasks(
      ShardPlan.Shard shard, Map<String, MergePreparation.Prepared> prepared, long pieceEntries) {
    List<PieceMerge.Task> tasks = new ArrayList<>();
    for (TensorInfo info : shard.layout().tensors()) {
      MergedTensor tensor = Objects.requireNonNull(shard.tensors().get(info.name()));
      MergePreparation.Prepared ready = prepared.get(info.name());
      int columns = ready == null || !ready.plan().wholeRows() ? 1 : tensor.columns();
      boolean whole = ready != null && ready.plan().wholeTensor();
      long most = whole ? Long.MAX_VALUE : pieceEntries;
      for (Piece piece : Piece.cut(0, tensor.elements(), columns, most)) {
        tasks.add(
            new PieceMerge.Task(
                ready == null ? tensor : ready.tensor(),
                ready == null ? null : ready.plan(),
                ready != null && ready.finite(),
                piece.from(),
                piece.to(),
                info.offset()));
      }
    }
    return tasks;
  }

  private void finish(BuildFolder folder, List<ShardPlan.Shard> shards) throws IOException {
    SortedMap<String, String> shardOf = new TreeMap<>(ParameterLayout.UTF8_ORDER);
    Map<DType, Long> types = new HashMap<>();
    for (ShardPlan.Shard shard : shards) {
      for (MergedTensor tensor : shard.tensors().values()) {
        shardOf.put(tensor.name(), shard.name());
        types.merge(tensor.dtype(), tensor.elements(), Long::sum);
      }
    }
    SortedMap<String, byte[]> descriptions =
        ModelDirectory.descriptions(settings.config(), mainType(types), shardOf, bytes());
    for (Map.Entry<String, byte[]> file : descriptions.entrySet()) {
      folder.write(file.getKey(), file.getValue());
    }
    for (Map.Entry<String, String> companion : settings.companions().entrySet()) {
      folder.copy(companion.getKey(), companion.getValue());
    }
    Set<String> complete = new TreeSet<>(shardOf.values());
    complete.addAll(descriptions.keySet());
    complete.addAll(settings.companions().keySet());
    // The journal is among the rest: from here on there is nothing to go on from.
    folder.deleteAllBut(complete);
    folder.install();
  }

  /** The floating type of most elements. */
  private static DType mainType(Map<DType, Long> types) {
    return types.entrySet().stream()
        .filter(entry -> entry.getKey().isFloating())
        .max(Map.Entry.<DType, Long>comparingByValue().thenComparing(Map.Entry.comparingByKey()))
        .map(Map.Entry::getKey)
        .orElse(DType.F32);
  }
}
