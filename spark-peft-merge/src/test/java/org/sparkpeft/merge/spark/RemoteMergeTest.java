package org.sparkpeft.merge.spark;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.sparkpeft.merge.storage.ElsewhereFileSystem.location;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.FileTime;
import java.util.List;
import java.util.TreeMap;
import java.util.stream.Stream;
import org.apache.spark.SparkConf;
import org.apache.spark.api.java.JavaSparkContext;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.io.DType;
import org.sparkpeft.core.io.StoredModel;
import org.sparkpeft.merge.method.BlockwiseMethod;
import org.sparkpeft.merge.method.Breadcrumbs;
import org.sparkpeft.merge.method.Combination;
import org.sparkpeft.merge.method.Dare;
import org.sparkpeft.merge.method.Rescale;
import org.sparkpeft.merge.method.Share;
import org.sparkpeft.merge.method.TaskArithmetic;
import org.sparkpeft.merge.method.Ties;
import org.sparkpeft.merge.storage.ElsewhereFileSystem;
import org.sparkpeft.merge.storage.Storage;

/** Models on Hadoop file systems merge to the same bytes as those on this machine. */
class RemoteMergeTest {
  private static final long MEMORY = 64L << 20;

  @TempDir private Path folder;
  private Path base;
  private List<Path> models;

  @BeforeEach
  void models() {
    base = Models.write(folder.resolve("base"), 0, DType.BF16);
    models =
        List.of(
            Models.write(folder.resolve("a"), 1, DType.BF16),
            Models.write(folder.resolve("b"), 2, DType.BF16),
            Models.write(folder.resolve("c"), 3, DType.BF16));
  }

  @AfterEach
  void theStoreIsUpAgain() {
    ElsewhereFileSystem.refuse(name -> false);
  }

  private static MergeSummary merge(
      String base, List<String> models, BlockwiseMethod method, String out, Workers workers) {
    List<Share> shares = models.stream().map(model -> method.share(0.7)).toList();
    return new CheckpointMerge(
            Models.tensors(base, models, method, shares, DType.BF16),
            new MergeSettings(out, Models.config(), new TreeMap<>(), 2000, MEMORY, 300),
            workers,
            MergeListener.NONE)
        .run();
  }

  private MergeSummary mergeElsewhere(BlockwiseMethod method, Path out) {
    List<String> remote = models.stream().map(ElsewhereFileSystem::location).toList();
    // One after the other, so that a failure finds what is before it done.
    return merge(location(base), remote, method, location(out), Workers.threads(1));
  }

  private void mergeHere(BlockwiseMethod method, Path out) {
    List<String> local = models.stream().map(Path::toString).toList();
    merge(base.toString(), local, method, out.toString(), Workers.threads(2));
  }

  private static void requireSameFiles(Path actual, Path expected) throws IOException {
    assertThat(names(actual)).isEqualTo(names(expected)).hasSizeGreaterThan(3);
    for (String name : names(expected)) {
      assertThat(actual.resolve(name)).hasSameBinaryContentAs(expected.resolve(name));
    }
  }

  private static List<String> names(Path dir) throws IOException {
    try (Stream<Path> files = Files.list(dir)) {
      return files.map(file -> file.getFileName().toString()).sorted().toList();
    }
  }

  static Stream<BlockwiseMethod> methods() {
    return Stream.of(
        new TaskArithmetic(0.4),
        Ties.defaults(),
        new Dare(0.4, 1, Combination.TIES, Rescale.L1, 9),
        new Breadcrumbs(0.3, 0.05, 0.4, Combination.TIES, true));
  }

  @ParameterizedTest
  @MethodSource("methods")
  void sameBytesAsLocally(BlockwiseMethod method) throws IOException {
    mergeHere(method, folder.resolve("here"));
    mergeElsewhere(method, folder.resolve("there"));
    requireSameFiles(folder.resolve("there"), folder.resolve("here"));
    assertThat(folder.resolve(".there.merging")).doesNotExist();
  }

  @Test
  void asASparkJobAndBetweenFileSystems() throws IOException {
    mergeHere(Ties.defaults(), folder.resolve("here"));
    List<String> mixed =
        List.of(
            location(models.get(0)), models.get(1).toString(), models.get(2).toUri().toString());
    SparkConf conf =
        new SparkConf().setMaster("local[2]").setAppName("merge").set("spark.ui.enabled", "false");
    try (JavaSparkContext context = new JavaSparkContext(conf)) {
      String out = location(folder.resolve("there"));
      merge(base.toString(), mixed, Ties.defaults(), out, Workers.spark(context));
    }
    requireSameFiles(folder.resolve("there"), folder.resolve("here"));
    String back = folder.resolve("back").toUri().toString();
    merge(location(base), mixed, Ties.defaults(), back, Workers.threads(2));
    requireSameFiles(folder.resolve("back"), folder.resolve("here"));
  }

  @Test
  void readsAreBoundedByTheMemoryAllowed() {
    List<String> remote = models.stream().map(ElsewhereFileSystem::location).toList();
    Ties ties = Ties.defaults();
    List<Share> shares = models.stream().map(model -> ties.share(1)).toList();
    List<MergedTensor> tensors = Models.tensors(location(base), remote, ties, shares, DType.BF16);
    ReadPlan roomy = ReadPlan.of(tensors, 2, 1L << 30);
    ReadPlan tight = ReadPlan.of(tensors, 16, MEMORY);
    assertThat(roomy.aheadBytes()).isEqualTo(8 << 20);
    assertThat(16L * 4 * tight.aheadBytes()).isBetween(MEMORY / 2, MEMORY);
    assertThat(ReadPlan.of(Models.tensors(base, models, ties, shares, DType.BF16), 2, 1L << 30))
        .isEqualTo(ReadPlan.LOCAL);
    assertThatThrownBy(() -> ReadPlan.of(tensors, 1024, MEMORY))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("allow more, or use fewer threads");
  }

  @Test
  void finishedShardsOutliveAFailure() throws IOException {
    mergeHere(Ties.defaults(), folder.resolve("here"));
    Path out = folder.resolve("there");
    ElsewhereFileSystem.refuse(name -> name.contains("model-00002-of"));
    assertThatThrownBy(() -> mergeElsewhere(Ties.defaults(), out))
        .hasMessageContaining("model-00002-of")
        .hasRootCauseMessage("the store is down");
    assertThat(out).doesNotExist();
    Path partial = folder.resolve(".there.merging");
    Path first = partial.resolve("model-00001-of-00003.safetensors");
    assertThat(partial.resolve("model-00002-of-00003.safetensors")).doesNotExist();
    assertThat(first)
        .hasSameBinaryContentAs(folder.resolve("here/model-00001-of-00003.safetensors"));
    // The last shard may have been finished beside the one that failed.
    long finished;
    try (Stream<Path> files = Files.list(partial)) {
      finished =
          files.filter(f -> f.getFileName().toString().matches("model-.*\\.safetensors")).count();
    }
    FileTime then = FileTime.fromMillis(1_000_000_000_000L);
    Files.setLastModifiedTime(first, then);
    Files.writeString(partial.resolve("model-00002-of-00003.safetensors.x.part"), "half");

    ElsewhereFileSystem.refuse(name -> false);
    MergeSummary summary = mergeElsewhere(Ties.defaults(), out);
    assertThat(summary.shardsKept()).isEqualTo((int) finished);
    requireSameFiles(out, folder.resolve("here"));
    assertThat(Files.getLastModifiedTime(out.resolve(first.getFileName()))).isEqualTo(then);
    assertThat(partial).doesNotExist();
  }

  @Test
  void anEarlierModelIsReplacedAndOtherFoldersAreNot() throws IOException {
    Path out = folder.resolve("there");
    mergeElsewhere(new TaskArithmetic(1), out);
    mergeElsewhere(Ties.defaults(), out);
    mergeHere(Ties.defaults(), folder.resolve("here"));
    requireSameFiles(out, folder.resolve("here"));
    Files.createDirectory(out.resolve("thesis"));
    assertThatThrownBy(() -> mergeElsewhere(Ties.defaults(), out))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("would be lost");
    assertThatThrownBy(() -> BuildFolder.of("elsewhere:/"))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("root of a file system");
    assertThatThrownBy(() -> BuildFolder.of("s3a://bucket"))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("root of a file system");
    assertThat(BuildFolder.of("s3a://bucket/merged").folder())
        .isEqualTo("s3a://bucket/.merged.merging");
  }

  @Test
  void aFileThatShrinksMeanwhileIsRefused() throws IOException {
    List<MergedTensor> tensors =
        Models.tensors(
            location(base),
            List.of(location(models.get(0))),
            new TaskArithmetic(1),
            List.of(Share.of(1)),
            DType.BF16);
    Path file = models.get(0).resolve("model.safetensors");
    try (FileChannel channel = FileChannel.open(file, StandardOpenOption.WRITE)) {
      channel.truncate(channel.size() - 100);
    }
    CheckpointMerge merge =
        new CheckpointMerge(
            tensors,
            MergeSettings.of(location(folder.resolve("out")), Models.config()),
            Workers.threads(1),
            MergeListener.NONE);
    assertThatThrownBy(merge::run)
        .isInstanceOf(DataException.class)
        .hasMessageContaining("it changed while being read");
    assertThat(folder.resolve("out")).doesNotExist();
  }

  @Test
  void damagedAndHostileModelsAreRefused() throws IOException {
    Path file = models.get(0).resolve("model.safetensors");
    byte[] good = Files.readAllBytes(file);
    Files.write(file, java.util.Arrays.copyOf(good, good.length - 1));
    refused(models.get(0), FormatException.class, "model.safetensors");
    Files.write(file, new byte[5]);
    refused(models.get(0), FormatException.class, "has 5 bytes");
    byte[] huge = good.clone();
    ByteBuffer.wrap(huge).order(java.nio.ByteOrder.LITTLE_ENDIAN).putLong(0, 1L << 40);
    Files.write(file, huge);
    ElsewhereFileSystem.LARGEST_READ.set(0);
    refused(models.get(0), FormatException.class, "exceeds the limit");
    assertThat(ElsewhereFileSystem.LARGEST_READ.get()).isLessThan(1 << 16);
    Files.delete(file);
    refused(models.get(0), DataException.class, "are both missing");
    Path index = models.get(0).resolve("model.safetensors.index.json");
    Files.writeString(index, "{\"weight_map\": {\"w\": \"../b/model.safetensors\"}}");
    refused(models.get(0), FormatException.class, "plain name");
    Files.writeString(index, "{\"weight_map\": {\"w\": \"none.safetensors\"}}");
    refused(models.get(0), DataException.class, "missing beside it");
    assertThatThrownBy(() -> StoredModel.open(Storage.ANY, "nowhere://host/model"))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("SPARK_PEFT_CLASSPATH");
  }

  private static void refused(Path model, Class<? extends Throwable> type, String message) {
    assertThatThrownBy(() -> StoredModel.open(Storage.ANY, location(model)))
        .isInstanceOf(type)
        .hasMessageContaining(message);
  }
}
