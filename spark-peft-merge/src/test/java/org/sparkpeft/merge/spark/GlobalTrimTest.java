package org.sparkpeft.merge.spark;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.io.DType;
import org.sparkpeft.core.vector.TaskVector;
import org.sparkpeft.merge.method.KeepRule;
import org.sparkpeft.merge.method.Share;
import org.sparkpeft.merge.method.Sparsify;
import org.sparkpeft.merge.method.Ties;

/** With a sample or without, in few parts or many: always the K largest, ties by position. */
class GlobalTrimTest {
  private static final GlobalTrim.Sampling NONE = new GlobalTrim.Sampling(512, 4096);
  private static final GlobalTrim.Sampling SOME = new GlobalTrim.Sampling(2, 400);

  @TempDir private Path folder;

  private static List<MergedTensor> merged(Path base, List<Path> models, List<Share> shares) {
    return Models.tensors(base, models, Ties.defaults(), shares, DType.F32).stream()
        .filter(tensor -> tensor.method() != null)
        .toList();
  }

  @ParameterizedTest
  @EnumSource(
      value = DType.class,
      names = {"F32", "BF16"})
  void keepsWhatTrimmingInMemoryKeeps(DType dtype) {
    Path base = Models.write(folder.resolve("base"), 0, dtype);
    List<Path> models =
        List.of(
            Models.write(folder.resolve("a"), 1, dtype),
            Models.write(folder.resolve("b"), 2, dtype));
    List<Share> shares = List.of(new Share(1, 0.2, 0, 0), new Share(1, 0.63, 0, 0));
    List<MergedTensor> tensors = merged(base, models, shares);
    for (GlobalTrim.Sampling sampling : List.of(NONE, SOME)) {
      for (long piece : new long[] {13, 1 << 20}) {
        List<Long> heard = new ArrayList<>();
        List<KeepRule> rules =
            new GlobalTrim(tensors, Workers.threads(2), piece, sampling, ReadPlan.LOCAL, heard::add)
                .rules();
        assertThat(heard.get(heard.size() - 1)).isEqualTo(4L * Models.LAYOUT.size());
        for (int t = 0; t < 2; t++) {
          TaskVector vector = Models.read(models.get(t)).minus(Models.read(base));
          float[] kept = vector.toArray();
          rules.get(t).apply(kept, kept.length, 0);
          assertThat(TaskVector.wrap(vector.layout(), kept))
              .isEqualTo(Sparsify.trim(vector, shares.get(t).density()));
        }
      }
    }
  }

  @Test
  void aModelOfNaNsIsNamed() {
    Path base = Models.write(folder.resolve("base"), 0, DType.BF16);
    float[] values = new float[Models.LAYOUT.size()];
    Arrays.fill(values, Float.NaN);
    Path lost = Models.write(folder.resolve("lost"), values, DType.BF16);
    List<Share> shares = List.of(new Share(1, 0.2, 0, 0), new Share(1, 0.2, 0, 0));
    List<MergedTensor> tensors = merged(base, List.of(lost, lost), shares);
    for (GlobalTrim.Sampling sampling : List.of(NONE, SOME)) {
      GlobalTrim trim =
          new GlobalTrim(tensors, Workers.threads(1), 99, sampling, ReadPlan.LOCAL, bytes -> {});
      assertThatThrownBy(trim::rules)
          .isInstanceOf(DataException.class)
          .hasMessageContaining("lost")
          .hasMessageContaining("minus the base is NaN; only finite weights can be merged");
      assertThat(trim.sawAll()).isFalse();
    }
  }
}
