package org.sparkpeft.core.peft.sharing;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.io.AdapterDirectory;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.model.TokenExamples;
import org.sparkpeft.core.peft.HeadOnlyConfig;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.TargetModules;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.testing.SharedFiles;
import org.sparkpeft.core.train.AdapterImport;
import org.sparkpeft.core.train.LocalPlan;
import org.sparkpeft.core.train.LocalResult;
import org.sparkpeft.core.train.LocalTrainer;
import org.sparkpeft.core.train.TaskConfig;
import org.sparkpeft.core.train.TrainConfig;
import org.sparkpeft.core.train.TunableModel;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;

/** Every method of the package on a small BERT: start, training, file, fused model. */
class SharingMethodsTest {
  private static final TaskConfig TASK =
      new TaskConfig("text-classification", List.of("a", "b", "c"), "auto", 32);

  @TempDir Path temp;

  static Stream<PeftConfig> configs() {
    Poly.Config poly = new Poly().defaults();
    return Stream.of(
        poly,
        routed("all"),
        routed("logits"),
        routed("average"),
        new Mos().defaults(),
        new S2Lora().defaults(),
        new Mola().defaults(),
        new Compacter().defaults(),
        new CompacterPp().defaults(),
        new StableRps().defaults());
  }

  /** Two tasks and splits. */
  private static PeftConfig routed(String trainable) {
    TargetModules targets = TargetModules.of("query", "output.dense", "pooler.dense");
    List<String> save = List.of("classifier");
    return new Poly.Config(
        2, targets, List.of(), save, true, "poly", 2, 3, 2, "sample", trainable, 10);
  }

  /** Texts of several lengths, of two tasks, whose class is one of their tokens. */
  private static final class Examples implements TokenExamples {
    private final List<int[]> texts = new ArrayList<>();

    Examples(int count) {
      for (int i = 0; i < count; i++) {
        Philox random = Philox.of(i, "texts");
        int[] text = new int[4 + i % 5];
        for (int t = 0; t < text.length; t++) {
          text[t] = 20 + (int) (random.doubleAt(t) * 100);
        }
        text[1] = 10 + i % 3;
        texts.add(text);
      }
    }

    @Override
    public int size() {
      return texts.size();
    }

    @Override
    public int[] tokens(int index) {
      return texts.get(index);
    }

    @Override
    public int[] pair(int index) {
      return new int[0];
    }

    @Override
    public int[] classes(int index) {
      return new int[] {index % 3};
    }

    @Override
    public float[] values(int index) {
      return new float[0];
    }

    @Override
    public int task(int index) {
      return index / 3 % 2;
    }
  }

  /** For methods with one task, the same without. */
  private static TokenExamples examples(PeftConfig config) {
    Examples all = new Examples(24);
    if (config instanceof Poly.Config poly && poly.nTasks() > 1) {
      return all;
    }
    return new TokenExamples() {
      @Override
      public int size() {
        return all.size();
      }

      @Override
      public int[] tokens(int index) {
        return all.tokens(index);
      }

      @Override
      public int[] pair(int index) {
        return all.pair(index);
      }

      @Override
      public int[] classes(int index) {
        return all.classes(index);
      }

      @Override
      public float[] values(int index) {
        return all.values(index);
      }
    };
  }

  private static TrainConfig training() {
    return new TrainConfig(
        6, 0, 8, 1, "adamw", 2e-2, 0, 0.9, 0.999, 1e-8, 0, "constant", "federation", 0, false);
  }

  private static float[][] logits(
      TunableModel model, ParameterVector parameters, TokenExamples examples) {
    return new LocalTrainer(model, training()).logits(parameters, examples);
  }

  private static double distance(float[][] a, float[][] b) {
    double worst = 0;
    for (int i = 0; i < a.length; i++) {
      for (int j = 0; j < a[i].length; j++) {
        worst = Math.max(worst, Math.abs((double) a[i][j] - b[i][j]));
      }
    }
    return worst;
  }

  @ParameterizedTest
  @MethodSource("configs")
  void startsTrainsSavesAndFuses(PeftConfig config) {
    ModelDirectory directory =
        ModelDirectory.open(SharedFiles.find("golden/architectures/bert-sequence-classification"));
    TokenExamples examples = examples(config);
    try (TunableModel base =
            TunableModel.load(directory, TASK, HeadOnlyConfig.defaults(), ComputeDevice.cpu());
        TunableModel unstarted = base.withPeft(config)) {
      TunableModel model = unstarted.started(3);
      ParameterVector start = model.initialParameters(3);
      double moved =
          distance(
              logits(model, start, examples), logits(base, base.initialParameters(3), examples));
      boolean random = config instanceof Poly.Config poly && poly.trainable().equals("logits");
      if (!random) {
        boolean nearly = config.peftType().startsWith("COMPACTER");
        // Experts are balanced over all tokens, so that here the last layer computes all of them.
        boolean otherwise = config.peftType().equals("MOLA");
        assertThat(moved)
            .as("start against the base")
            .isLessThanOrEqualTo(nearly ? 1e-3 : otherwise ? 1e-6 : 0);
      }

      LocalResult result =
          new LocalTrainer(model, training()).train(start, examples, LocalPlan.alone(1));
      List<Double> losses = result.losses();
      assertThat(losses.get(losses.size() - 1)).isLessThan(losses.get(0));
      assertThat(
              new LocalTrainer(model, training())
                  .train(start, examples, LocalPlan.alone(1))
                  .parameters())
          .as("the same bits again")
          .isEqualTo(result.parameters());
      for (ParameterLayout.Entry entry : model.layout().entries()) {
        String name = entry.name();
        assertThat(result.parameters().tensor(name)).as(name).isNotEqualTo(start.tensor(name));
      }

      float[][] expected = logits(model, result.parameters(), examples);
      Path folder = temp.resolve("adapter");
      model.exportAdapter(result.parameters(), folder);
      AdapterDirectory adapter = AdapterDirectory.read(folder);
      PeftConfig read = AdapterImport.config(adapter);
      assertThat(read.peftType()).isEqualTo(config.peftType());
      try (TunableModel again = TunableModel.load(directory, TASK, read, ComputeDevice.cpu())) {
        TunableModel loaded = again.withState(again.importState(adapter));
        assertThat(loaded.state()).isEqualTo(model.state());
        assertThat(loaded.importAdapter(adapter)).isEqualTo(result.parameters());
        assertThat(logits(loaded, loaded.importAdapter(adapter), examples)).isDeepEqualTo(expected);
      }
      if (model.whyNotFused().isEmpty()) {
        ModelDirectory fused = model.exportFused(result.parameters(), temp.resolve("fused"));
        try (TunableModel plain =
            TunableModel.load(fused, TASK, HeadOnlyConfig.defaults(), ComputeDevice.cpu())) {
          assertThat(distance(logits(plain, plain.initialParameters(0), examples), expected))
              .isLessThan(2e-5);
        }
      }
    }
  }
}
