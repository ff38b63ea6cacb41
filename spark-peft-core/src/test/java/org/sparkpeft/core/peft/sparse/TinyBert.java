package org.sparkpeft.core.peft.sparse;

import static org.sparkpeft.core.testing.SharedFiles.find;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.model.TokenExamples;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.StepObserver;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.train.LocalPlan;
import org.sparkpeft.core.train.LocalResult;
import org.sparkpeft.core.train.LocalTrainer;
import org.sparkpeft.core.train.TaskConfig;
import org.sparkpeft.core.train.TrainConfig;
import org.sparkpeft.core.train.TunableModel;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;

/** A BERT of two small layers with three classes, and what its tests share. */
final class TinyBert {
  static final String QUERY = "bert.encoder.layer.0.attention.self.query";

  private TinyBert() {}

  static TunableModel load(PeftConfig peft) {
    return load(
        ModelDirectory.open(find("golden/architectures/bert-sequence-classification")), peft);
  }

  static TunableModel load(ModelDirectory directory, PeftConfig peft) {
    TaskConfig task =
        new TaskConfig("text-classification", List.of("label0", "label1", "label2"), "auto", 32);
    return TunableModel.load(directory, task, peft, ComputeDevice.cpu());
  }

  static float[][] logits(TunableModel model, ParameterVector parameters) {
    return new LocalTrainer(model, training(1, 0)).logits(parameters, examples());
  }

  /** AdamW at rate 0.01, batches of 4. */
  static TrainConfig training(int steps, double decay) {
    return new TrainConfig(
        1,
        steps,
        4,
        1,
        "adamw",
        0.01,
        decay,
        0.9,
        0.999,
        1e-8,
        1,
        "constant",
        "federation",
        0,
        false);
  }

  static LocalResult train(TunableModel model, ParameterVector start, int steps, double decay) {
    return new LocalTrainer(model, training(steps, decay))
        .train(start, examples(), LocalPlan.alone(5));
  }

  /** A client's training in the given stretch of a federation. */
  static LocalResult round(
      TunableModel model, ParameterVector start, int steps, double from, double to) {
    LocalPlan plan = new LocalPlan(5, 0, "client", from, to, 0, () -> false);
    return new LocalTrainer(model, training(steps, 0.1)).train(start, examples(), plan);
  }

  /** The parameters moved at random. */
  static ParameterVector moved(ParameterVector parameters, double deviation) {
    float[] values = parameters.toArray();
    float[] noise = Philox.of(9, "moved").gaussian(values.length, deviation);
    for (int i = 0; i < values.length; i++) {
      values[i] += noise[i];
    }
    return ParameterVector.wrap(parameters.layout(), values);
  }

  static double distance(float[][] a, float[][] b) {
    double worst = 0;
    for (int i = 0; i < a.length; i++) {
      for (int j = 0; j < a[i].length; j++) {
        worst = Math.max(worst, Math.abs((double) a[i][j] - b[i][j]));
      }
    }
    return worst;
  }

  /** 24 texts of random length whose class depends on one of their tokens. */
  static TokenExamples examples() {
    List<int[]> tokens = new ArrayList<>();
    List<Integer> labels = new ArrayList<>();
    for (int i = 0; i < 24; i++) {
      Philox own = Philox.of(3, "examples", i);
      int[] text = new int[4 + (int) (own.doubleAt(0) * 10)];
      for (int t = 0; t < text.length; t++) {
        text[t] = 20 + (int) (own.doubleAt(t + 1) * 130);
      }
      labels.add((int) (own.doubleAt(1000) * 3));
      text[2] = 10 + labels.get(i);
      tokens.add(text);
    }
    return new TokenExamples() {
      @Override
      public int size() {
        return tokens.size();
      }

      @Override
      public int[] tokens(int index) {
        return tokens.get(index);
      }

      @Override
      public int[] pair(int index) {
        return new int[0];
      }

      @Override
      public int[] classes(int index) {
        return new int[] {labels.get(index)};
      }

      @Override
      public float[] values(int index) {
        return new float[0];
      }
    };
  }

  /** Notes which entries were restarted and with what. */
  static final class Moments implements StepObserver.OptimizerMoments {
    final Map<Integer, double[]> restarted = new LinkedHashMap<>();

    @Override
    public void restart(int index, double first, double second, int age) {
      restarted.put(index, new double[] {first, second, age});
    }
  }

  /** An update with a gradient and probes. */
  static StepObserver.Update update(
      int number,
      ParameterLayout layout,
      float[] parameters,
      float[] gradient,
      Map<String, float[]> probes,
      Moments moments) {
    return new StepObserver.Update(number, layout, parameters, gradient, probes, 0.1, moments);
  }
}
