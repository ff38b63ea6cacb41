package org.sparkpeft.merge.spark;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeMap;
import java.util.stream.Stream;
import org.apache.spark.SparkConf;
import org.apache.spark.api.java.JavaSparkContext;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.io.BFloat16;
import org.sparkpeft.core.io.DType;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.io.WeightSource;
import org.sparkpeft.core.vector.ParameterVector;
import org.sparkpeft.core.vector.TaskVector;
import org.sparkpeft.merge.method.Average;
import org.sparkpeft.merge.method.BlockwiseMethod;
import org.sparkpeft.merge.method.Breadcrumbs;
import org.sparkpeft.merge.method.Combination;
import org.sparkpeft.merge.method.Dare;
import org.sparkpeft.merge.method.Della;
import org.sparkpeft.merge.method.ModelStock;
import org.sparkpeft.merge.method.PcbMerging;
import org.sparkpeft.merge.method.Rescale;
import org.sparkpeft.merge.method.Share;
import org.sparkpeft.merge.method.Slerp;
import org.sparkpeft.merge.method.TaskArithmetic;
import org.sparkpeft.merge.method.Ties;

/** Merging files in pieces gives, to the bit, what the method gives in memory. */
class CheckpointMergeTest {
  private static final long MEMORY = 1L << 30;

  @TempDir private Path folder;

  static Stream<BlockwiseMethod> methods() {
    return Stream.of(
        new Average(),
        new TaskArithmetic(0.4),
        new Ties(0.2, false, 1, Ties.Convention.MERGEKIT),
        new Ties(0.3, true, 1.2, Ties.Convention.HF_PEFT),
        new Dare(0.4, 0.5, Combination.LINEAR, Rescale.PROBABILITY, 9),
        new Dare(0.4, 1, Combination.TIES, Rescale.L1, 9),
        new Della(0.5, 0.2, 1.1, Combination.TIES, Rescale.PROBABILITY, 9),
        new Breadcrumbs(0.3, 0.05, 0.4, Combination.LINEAR),
        new Breadcrumbs(0.3, 0.05, 0.4, Combination.TIES),
        new Breadcrumbs(0.3, 0.1, 0.4, Combination.TIES, true),
        new PcbMerging(0.2, 0.9, true),
        new PcbMerging(0.3, 1, false),
        new Slerp(0.3),
        new ModelStock());
  }

  private List<Path> models(int count, DType dtype) {
    List<Path> models = new ArrayList<>();
    for (int t = 1; t <= count; t++) {
      models.add(Models.write(folder.resolve("model" + t + dtype), t, dtype));
    }
    return models;
  }

  private static List<Double> weights(BlockwiseMethod method, int count) {
    List<Double> weights = new ArrayList<>();
    for (int t = 0; t < count; t++) {
      weights.add(method instanceof ModelStock ? 1 : 0.3 + 0.2 * t);
    }
    return weights;
  }

  private MergeSummary merge(
      Path base,
      List<Path> models,
      BlockwiseMethod method,
      DType dtype,
      Path out,
      long piece,
      long shard,
      Workers workers) {
    List<Share> shares = weights(method, models.size()).stream().map(method::share).toList();
    List<MergedTensor> tensors = Models.tensors(base, models, method, shares, dtype);
    MergeSettings settings =
        new MergeSettings(out.toString(), Models.config(), new TreeMap<>(), shard, MEMORY, piece);
    return new CheckpointMerge(tensors, settings, workers, MergeListener.NONE).run();
  }

  private static ParameterVector expected(Path base, List<Path> models, BlockwiseMethod method) {
    ParameterVector start = Models.read(base);
    List<TaskVector> vectors = models.stream().map(m -> Models.read(m).minus(start)).toList();
    return start.plus(method.merge(vectors, weights(method, models.size())));
  }

  @ParameterizedTest
  @MethodSource("methods")
  void equalsTheMergeInMemory(BlockwiseMethod method) {
    int count = method instanceof Slerp ? 2 : 3;
    for (DType dtype : List.of(DType.F32, DType.BF16)) {
      Path base = Models.write(folder.resolve("base" + dtype), 0, dtype);
      List<Path> models = models(count, dtype);
      ParameterVector expected = expected(base, models, method);
      for (long piece : new long[] {1 << 22, 100, 37}) {
        Path out = folder.resolve("out" + dtype + piece);
        merge(base, models, method, DType.F32, out, piece, 1 << 30, Workers.threads(2));
        assertThat(Models.read(out)).as(dtype + " in pieces of " + piece).isEqualTo(expected);
        Path halves = folder.resolve("halves" + dtype + piece);
        merge(base, models, method, DType.BF16, halves, piece, 1 << 30, Workers.threads(2));
        Path rounded = folder.resolve("rounded" + dtype + piece);
        Models.write(rounded, expected.toArray(), DType.BF16);
        assertThat(Models.read(halves))
            .as(dtype + " to BF16 in pieces of " + piece)
            .isEqualTo(Models.read(rounded));
      }
    }
  }

  @Test
  void aSparkJobGivesTheSameBits() {
    SparkConf conf =
        new SparkConf().setMaster("local[2]").setAppName("merge").set("spark.ui.enabled", "false");
    try (JavaSparkContext context = new JavaSparkContext(conf)) {
      for (DType dtype : List.of(DType.BF16, DType.F16)) {
        Path base = Models.write(folder.resolve("base" + dtype), 0, dtype);
        List<Path> models = models(3, dtype);
        Ties ties = Ties.defaults();
        Path out = folder.resolve("spark" + dtype);
        merge(base, models, ties, DType.F32, out, 500, 3000, Workers.spark(context));
        assertThat(Models.read(out)).isEqualTo(expected(base, models, ties));
        List<Path> bad = List.of(models.get(0), notFinite(dtype));
        assertThatThrownBy(
                () ->
                    merge(
                        base,
                        bad,
                        new TaskArithmetic(1),
                        dtype,
                        folder.resolve("bad" + dtype),
                        500,
                        3000,
                        Workers.spark(context)))
            .hasStackTraceContaining("only finite weights can be merged");
      }
    }
  }

  /** TIES looks at all values before it merges any. */
  @ParameterizedTest
  @EnumSource(
      value = DType.class,
      names = {"F32", "BF16"})
  void whereAValueIsNotFiniteIsSaid(DType dtype) {
    Path base = Models.write(folder.resolve("base"), 0, dtype);
    List<Path> bad = List.of(models(1, dtype).get(0), notFinite(dtype));
    for (BlockwiseMethod method : List.of(new TaskArithmetic(1), Ties.defaults())) {
      assertThatThrownBy(
              () ->
                  merge(
                      base,
                      bad,
                      method,
                      dtype,
                      folder.resolve("out"),
                      500,
                      3000,
                      Workers.threads(2)))
          .isInstanceOf(DataException.class)
          .hasMessageContaining("entry 600 of w minus the base is -Infinity")
          .hasMessageContaining("only finite weights can be merged");
    }
  }

  private Path notFinite(DType dtype) {
    float[] values = new float[Models.LAYOUT.size()];
    values[Models.LAYOUT.entry("w").offset() + 600] = Float.NEGATIVE_INFINITY;
    return Models.write(folder.resolve("infinite" + dtype), values, dtype);
  }

  @Test
  void theOrderOfModelsChangesNoBit() {
    Path base = Models.write(folder.resolve("base"), 0, DType.BF16);
    List<Path> models = models(3, DType.BF16);
    List<Path> turned = List.of(models.get(2), models.get(0), models.get(1));
    Dare dare = new Dare(0.4, 1, Combination.TIES, Rescale.L1, 9);
    List<Share> equal = List.of(dare.share(1), dare.share(1), dare.share(1));
    for (List<Path> order : List.of(models, turned)) {
      Path out = folder.resolve("out" + order.indexOf(models.get(0)));
      MergeSettings settings = MergeSettings.of(out.toString(), Models.config());
      new CheckpointMerge(
              Models.tensors(base, order, dare, equal, DType.F32),
              settings,
              Workers.threads(1),
              MergeListener.NONE)
          .run();
    }
    assertThat(Models.read(folder.resolve("out0"))).isEqualTo(Models.read(folder.resolve("out1")));
  }

  @Test
  void shardsHaveAnIndexAndHoldWhatOneFileHolds() throws IOException {
    Path base = Models.write(folder.resolve("base"), 0, DType.BF16);
    List<Path> models = models(2, DType.BF16);
    TaskArithmetic sum = new TaskArithmetic(0.5);
    Path one = folder.resolve("one");
    Path many = folder.resolve("many");
    MergeSummary whole =
        merge(base, models, sum, DType.BF16, one, 1 << 22, 1 << 30, Workers.threads(1));
    MergeSummary cut = merge(base, models, sum, DType.BF16, many, 300, 2000, Workers.threads(2));
    assertThat(whole.shards()).isEqualTo(1);
    assertThat(whole.merged()).isEqualTo(5);
    assertThat(whole.tensors()).isEqualTo(6);
    assertThat(cut.shards()).isEqualTo(3);
    try (Stream<Path> files = Files.list(many)) {
      assertThat(files.map(file -> file.getFileName().toString()))
          .containsExactlyInAnyOrder(
              "config.json",
              "model.safetensors.index.json",
              "model-00001-of-00003.safetensors",
              "model-00002-of-00003.safetensors",
              "model-00003-of-00003.safetensors");
    }
    assertThat(Files.readString(many.resolve("model.safetensors.index.json")))
        .contains("\"total_size\": " + whole.bytes());
    assertThat(Files.readString(one.resolve("config.json"))).contains("bfloat16");
    assertThat(Models.read(many)).isEqualTo(Models.read(one));
    ParameterVector expected = expected(base, models, sum);
    for (int i = 0; i < expected.size(); i++) {
      float rounded = BFloat16.toFloat(BFloat16.fromFloat(expected.get(i)));
      assertThat(Models.read(one).get(i)).isEqualTo(rounded);
    }
    try (WeightSource weights = ModelDirectory.open(many).weights()) {
      assertThat(weights.tensor("position_ids").toLongs()).containsExactly(0, 1, 2, 3);
    }
  }

  @Test
  void finishedShardsOutliveAKill() throws IOException {
    Path base = Models.write(folder.resolve("base"), 0, DType.F32);
    List<Path> models = models(2, DType.F32);
    List<Path> bad = new ArrayList<>(models);
    float[] values = Models.read(models.get(1)).toArray();
    int at = Models.LAYOUT.entry("w").offset() + 600;
    float good = values[at];
    values[at] = Float.NaN;
    Path broken = Models.write(folder.resolve("broken"), values, DType.F32);
    bad.set(1, broken);
    TaskArithmetic sum = new TaskArithmetic(0.5);
    Path out = folder.resolve("out");
    assertThatThrownBy(() -> merge(base, bad, sum, DType.F32, out, 300, 4000, Workers.threads(2)))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("entry 600 of w minus the base is NaN");
    assertThat(out).doesNotExist();
    Path partial = folder.resolve(".out.merging");
    assertThat(partial.resolve("model-00001-of-00003.safetensors")).exists();
    assertThat(partial.resolve("model-00003-of-00003.safetensors")).doesNotExist();

    // The cause is repaired in place, with the time of change as it was.
    java.nio.file.attribute.FileTime time =
        Files.getLastModifiedTime(broken.resolve("model.safetensors"));
    values[at] = good;
    Models.write(folder.resolve("repaired"), values, DType.F32);
    Files.copy(
        folder.resolve("repaired/model.safetensors"),
        broken.resolve("model.safetensors"),
        java.nio.file.StandardCopyOption.REPLACE_EXISTING);
    Files.setLastModifiedTime(broken.resolve("model.safetensors"), time);
    // One finished shard rots meanwhile: it is merged again.
    try (FileChannel channel =
        FileChannel.open(
            partial.resolve("model-00002-of-00003.safetensors"), StandardOpenOption.WRITE)) {
      channel.write(java.nio.ByteBuffer.wrap(new byte[] {1, 2, 3}), channel.size() - 50);
    }
    MergeSummary summary = merge(base, bad, sum, DType.F32, out, 300, 4000, Workers.threads(2));
    assertThat(summary.shardsKept()).isEqualTo(1);
    assertThat(Models.read(out)).isEqualTo(expected(base, models, sum));
    assertThat(partial).doesNotExist();
  }

  @Test
  void anotherMergeStartsAnew() throws IOException {
    Path base = Models.write(folder.resolve("base"), 0, DType.F32);
    List<Path> models = models(2, DType.F32);
    Path out = folder.resolve("out");
    Path partial = Files.createDirectories(folder.resolve(".out.merging"));
    Files.writeString(partial.resolve("merge-journal.json"), "{\"merge\": \"x\", \"shards\": {}}");
    Files.writeString(partial.resolve("left-over.safetensors"), "of another merge");
    merge(base, models, new Average(), DType.F32, out, 300, 4000, Workers.threads(2));
    assertThat(out.resolve("left-over.safetensors")).doesNotExist();
    assertThat(Models.read(out)).isEqualTo(expected(base, models, new Average()));
  }

  @Test
  void otherFoldersAreNotReplaced() throws IOException {
    Path base = Models.write(folder.resolve("base"), 0, DType.F32);
    Path out = Files.createDirectories(folder.resolve("thesis"));
    Files.writeString(out.resolve("thesis.tex"), "two years");
    assertThatThrownBy(
            () ->
                merge(
                    base,
                    models(2, DType.F32),
                    new Average(),
                    DType.F32,
                    out,
                    300,
                    4000,
                    Workers.threads(1)))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("would be lost");
    assertThat(out.resolve("thesis.tex")).exists();
  }

  @Test
  void valuesBeyondTheTypeAreRefused() {
    float[] large = new float[Models.LAYOUT.size()];
    large[5] = 90_000;
    Path base = Models.write(folder.resolve("base"), new float[large.length], DType.F32);
    Path model = Models.write(folder.resolve("large"), large, DType.F32);
    assertThatThrownBy(
            () ->
                merge(
                    base,
                    List.of(model, model),
                    new TaskArithmetic(1),
                    DType.F16,
                    folder.resolve("out"),
                    300,
                    4000,
                    Workers.threads(1)))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("F16 cannot hold");
  }

  @Test
  void progressEndsAtTheWhole() {
    Path base = Models.write(folder.resolve("base"), 0, DType.F32);
    List<Path> models = models(2, DType.F32);
    Ties ties = Ties.defaults();
    List<Share> shares = List.of(ties.share(1), ties.share(1));
    List<String> heard = new ArrayList<>();
    new CheckpointMerge(
            Models.tensors(base, models, ties, shares, DType.F32),
            MergeSettings.of(folder.resolve("out").toString(), Models.config()),
            Workers.threads(2),
            (phase, done, total) -> heard.add(phase + " " + (done == total)))
        .run();
    assertThat(heard).contains("selecting true").endsWith("merging true");
  }
}
