package org.sparkpeft.core.peft.sparse;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.peft.BaseWeights;
import org.sparkpeft.core.peft.LoraConfig;
import org.sparkpeft.core.peft.TargetModules;
import org.sparkpeft.core.random.Philox;

/**
 * Model surgery (Wang et al. 2024, arXiv 2407.08770): a behaviour is edited out without training. A
 * linear probe on pooled hidden states finds the direction v of the undesired behaviour; the rows
 * of the feed-forward layers that are most opposed to v, by cosine over all layers together, are
 * shifted by {@code alpha v}. In each matrix that is the rank-1 change {@code B A} with {@code B =
 * alpha * indicator(rows) [out, 1]} and {@code A = v [1, in]}, so the result is an exact LoRA
 * adapter and no method of its own. Made on the driver, for example after the last round; with
 * {@link #alignment} it also says how far a client's update moves towards the behaviour.
 */
public final class ModelSurgery {
  private ModelSurgery() {}

  /**
   * Trains the probe: a softmax over two classes, by Adam from zero.
   *
   * @param features {@code [n, hidden]}, the mean of an example's last hidden states without
   *     padding
   * @param undesired whether each example shows the behaviour
   * @param epochs passes; 20 is usual
   * @param rate learning rate; 1e-4 is usual
   * @param batchSize examples a step; 16..32 is usual
   * @return v: the weights of the undesired class, {@code [hidden]}
   */
  public static float[] probe(
      float[][] features, boolean[] undesired, int epochs, double rate, int batchSize, long seed) {
    new Problems()
        .require(
            features.length > 0 && features.length == undesired.length,
            "features",
            features.length,
            "must be as many as labels, " + undesired.length + ", and at least one")
        .require(epochs >= 1, "epochs", epochs, "must be at least 1; 20 is usual")
        .require(rate > 0, "rate", rate, "must be above 0; 1e-4 is usual")
        .require(batchSize >= 1, "batch_size", batchSize, "must be at least 1; 16 is usual")
        .throwIfAny();
    int hidden = features[0].length;
    // Two classes that start at zero stay opposite: w1 = -w0, and the logit is 2 w1 x.
    double[] weights = new double[hidden + 1];
    double[] first = new double[hidden + 1];
    double[] second = new double[hidden + 1];
    int step = 0;
    for (int epoch = 0; epoch < epochs; epoch++) {
      int[] order = Philox.of(seed, "probe", epoch).permutation(features.length);
      for (int from = 0; from < order.length; from += batchSize) {
        int to = Math.min(order.length, from + batchSize);
        double[] gradient = new double[hidden + 1];
        for (int i = from; i < to; i++) {
          float[] x = features[order[i]];
          double logit = weights[hidden];
          for (int j = 0; j < hidden; j++) {
            logit += weights[j] * x[j];
          }
          double error = 1 / (1 + Math.exp(-2 * logit)) - (undesired[order[i]] ? 1 : 0);
          for (int j = 0; j < hidden; j++) {
            gradient[j] += error * x[j] / (to - from);
          }
          gradient[hidden] += error / (to - from);
        }
        step++;
        for (int j = 0; j <= hidden; j++) {
          first[j] = 0.9 * first[j] + 0.1 * gradient[j];
          second[j] = 0.999 * second[j] + 0.001 * gradient[j] * gradient[j];
          double mean = first[j] / (1 - Math.pow(0.9, step));
          double square = second[j] / (1 - Math.pow(0.999, step));
          weights[j] -= rate * mean / (Math.sqrt(square) + 1e-8);
        }
      }
    }
    float[] v = new float[hidden];
    for (int j = 0; j < hidden; j++) {
      v[j] = (float) weights[j];
    }
    return v;
  }

  /**
   * One row of one weight matrix.
   *
   * @param layer its place in the list of layers
   * @param row number of the row, the neuron
   * @param cosine of the row and v
   */
  public record Row(int layer, int row, double cosine) {}

  /**
   * The rows most opposed to v over all layers; of equal ones those of lower layer and number.
   *
   * @param layers linear layers with {@code in = hidden}
   * @param count rows to choose
   */
  public static List<Row> mostOpposed(
      List<ModuleSpec> layers, float[] v, int count, BaseWeights base) {
    double norm = Math.sqrt(dot(v, 0, v));
    Problems problems = new Problems();
    problems.require(
        norm > 0 && Double.isFinite(norm), "v", norm, "must have a finite norm above 0");
    problems.require(count >= 1, "count", count, "must be at least 1 row");
    for (ModuleSpec layer : layers) {
      problems.require(
          layer.kind() == ModuleSpec.Kind.LINEAR && layer.in() == v.length,
          layer.path(),
          layer.kind() + " of " + layer.in() + " inputs",
          "must be a linear layer with " + v.length + " inputs, as v has");
    }
    problems.throwIfAny();
    List<Row> rows = new ArrayList<>();
    for (int l = 0; l < layers.size(); l++) {
      float[] weight = base.tensor(layers.get(l).path() + ".weight");
      for (int r = 0; r < layers.get(l).out(); r++) {
        double length = 0;
        for (int j = 0; j < v.length; j++) {
          double w = weight[r * v.length + j];
          length += w * w;
        }
        double cosine = length == 0 ? 0 : dot(weight, r * v.length, v) / (Math.sqrt(length) * norm);
        rows.add(new Row(l, r, cosine));
      }
    }
    rows.sort(Comparator.comparingDouble(Row::cosine));
    return List.copyOf(rows.subList(0, Math.min(count, rows.size())));
  }

  private static double dot(float[] a, int from, float[] v) {
    double sum = 0;
    for (int j = 0; j < v.length; j++) {
      sum += (double) a[from + j] * v[j];
    }
    return sum;
  }

  /**
   * An adapter: its configuration and tensors by the names that LoRA gives them.
   *
   * @param config rank 1 and scaling 1 on the layers that have chosen rows
   * @param tensors {@code <layer>.lora_A.weight [1, in]} and {@code <layer>.lora_B.weight [out, 1]}
   */
  public record Edit(LoraConfig config, Map<String, float[]> tensors) {}

  /** {@code row += alpha v} for the chosen rows, as LoRA. */
  public static Edit edit(List<ModuleSpec> layers, List<Row> rows, float[] v, double alpha) {
    new Problems()
        .require(!rows.isEmpty(), "rows", 0, "must be at least one")
        .require(
            alpha != 0 && Double.isFinite(alpha), "alpha", alpha, "must be a number other than 0")
        .throwIfAny();
    Map<String, float[]> tensors = new LinkedHashMap<>();
    List<String> paths = new ArrayList<>();
    for (int l = 0; l < layers.size(); l++) {
      float[] indicator = new float[layers.get(l).out()];
      boolean touched = false;
      for (Row row : rows) {
        if (row.layer() == l) {
          indicator[row.row()] = (float) alpha;
          touched = true;
        }
      }
      if (touched) {
        String path = layers.get(l).path();
        paths.add(path);
        tensors.put(path + ".lora_A.weight", v.clone());
        tensors.put(path + ".lora_B.weight", indicator);
      }
    }
    LoraConfig config =
        new LoraConfig(
            1,
            1,
            0,
            TargetModules.of(paths.toArray(String[]::new)),
            List.of(),
            false,
            "true",
            Map.of(),
            Map.of(),
            List.of(),
            List.of());
    return new Edit(config, tensors);
  }

  /**
   * How far a change of weights moves its rows along v: the sum of {@code <change row, v / |v|>}.
   * Positive is away from the opposed direction.
   *
   * @param change {@code [out, in]}, row-major
   */
  public static double alignment(float[] change, float[] v) {
    double norm = Math.sqrt(dot(v, 0, v));
    double sum = 0;
    for (int from = 0; from + v.length <= change.length; from += v.length) {
      sum += dot(change, from, v) / norm;
    }
    return sum;
  }
}
