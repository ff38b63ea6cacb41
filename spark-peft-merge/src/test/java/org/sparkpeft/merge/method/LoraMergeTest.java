package org.sparkpeft.merge.method;

import static java.util.Objects.requireNonNull;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.List;
import java.util.SortedMap;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.merge.method.WeightSearch.Scorer;

class LoraMergeTest {
  private static final LoraModule ONE = rankOne(2, new float[] {1, 0}, 1, 2);
  private static final LoraModule TWO = rankOne(2, new float[] {0, 1}, 3, 0);

  private static LoraModule rankOne(double scaling, float[] b, float... a) {
    return LoraModule.of(2, 1, 2, a, b, scaling);
  }

  private static LoraModule random(int out, int r, int in, double scaling, long seed) {
    Philox random = Philox.of(seed, "lora");
    return LoraModule.of(
        out,
        r,
        in,
        random.child(1).gaussian(r * in, 1),
        random.child(2).gaussian(out * r, 1),
        scaling);
  }

  private static void close(float[] actual, double tolerance, float... expected) {
    assertThat(actual).containsExactly(expected, within((float) tolerance));
  }

  @Test
  void workedExample() {
    List<Double> half = List.of(.5, .5);
    close(LoraMerge.concatenate(List.of(ONE, TWO), half).deltaWeight(), 1e-6, 1, 2, 3, 0);
    LoraModule linear = LoraMerge.linear(List.of(ONE, TWO), half);
    close(linear.a(), 1e-6, 4, 2);
    close(linear.b(), 1e-6, 1, 1);
    close(linear.deltaWeight(), 1e-6, 4, 2, 4, 2);
    close(LoraMerge.svd(List.of(ONE, TWO), half, 2).deltaWeight(), 1e-6, 1, 2, 3, 0);
  }

  @Test
  void addingFactorsDoesNotSubtract() {
    List<LoraModule> modules =
        List.of(rankOne(1, new float[] {1, 0}, 1, 2), rankOne(1, new float[] {0, 1}, 3, 0));
    List<Double> difference = List.of(1.0, -1.0);
    close(LoraMerge.linear(modules, difference).deltaWeight(), 1e-6, -2, 2, -2, 2);
    close(LoraMerge.concatenate(modules, difference).deltaWeight(), 1e-6, 1, 2, -3, 0);
  }

  @Test
  void svdIsExactAtFullRankAndBestBelow() {
    List<LoraModule> modules = List.of(random(7, 2, 5, .5, 1), random(7, 1, 5, 2, 2));
    List<Double> weights = List.of(.7, -.3);
    float[] exact = LoraMerge.concatenate(modules, weights).deltaWeight();
    LoraModule full = LoraMerge.svd(modules, weights, 9);
    assertThat(full.rank()).isEqualTo(3);
    close(full.deltaWeight(), 1e-5, exact);
    Decompositions.Svd svd = Decompositions.svd(Matrix.of(7, 5, exact));
    float[] two = LoraMerge.svd(modules, weights, 2).deltaWeight();
    double error = 0;
    for (int i = 0; i < exact.length; i++) {
      error += (double) (exact[i] - two[i]) * (exact[i] - two[i]);
    }
    assertThat(Math.sqrt(error)).isCloseTo(svd.values()[2], within(1e-5));
    assertThat(svd.values()[3]).isCloseTo(0, within(1e-5));
  }

  @Test
  void shapesAndRanksAreChecked() {
    LoraModule wide = random(2, 1, 3, 1, 1);
    assertThatThrownBy(() -> LoraMerge.concatenate(List.of(ONE, wide), List.of(1.0, 1.0)))
        .hasMessageContaining("2x2 and 2x3");
    assertThatThrownBy(
            () -> LoraMerge.linear(List.of(ONE, random(2, 2, 2, 1, 1)), List.of(1.0, 1.0)))
        .hasMessageContaining("equal ranks, got 1 and 2");
    assertThatThrownBy(() -> LoraModule.of(2, 1, 2, new float[3], new float[2], 1))
        .hasMessageContaining("r x in");
  }

  @Test
  void knotsOfOrthogonalTasks() {
    LoraModule one = rankOne(1, new float[] {1, 0}, 3, 0);
    LoraModule two = rankOne(1, new float[] {0, 1}, 0, 2);
    SortedMap<String, List<LoraModule>> layers = new TreeMap<>();
    layers.put("layer", List.of(one, two));
    Knots knots = new Knots(new Ties(.5, false, 1, Ties.Convention.MERGEKIT), 1);
    LoraModule merged = requireNonNull(knots.merge(layers, List.of(1.0, 1.0)).get("layer"));
    close(merged.deltaWeight(), 1e-6, 3, 0, 0, 2);
  }

  @Test
  void knotsWithASumIsTheSumOfDeltas() {
    SortedMap<String, List<LoraModule>> layers = new TreeMap<>();
    layers.put("b", List.of(random(7, 2, 5, .5, 1), random(7, 3, 5, 2, 2)));
    layers.put("a", List.of(random(4, 1, 6, 1, 3), random(4, 2, 6, 1, 4)));
    List<Double> weights = List.of(.25, .75);
    SortedMap<String, LoraModule> merged =
        new Knots(new TaskArithmetic(1), .6).merge(layers, weights);
    assertThat(merged).hasSize(2);
    merged.forEach(
        (name, module) -> {
          List<LoraModule> modules = requireNonNull(layers.get(name));
          LoraModule exact = LoraMerge.concatenate(modules, List.of(.15, .45));
          close(module.deltaWeight(), 1e-5, exact.deltaWeight());
          assertThat(module.rank()).isEqualTo(name.equals("a") ? 3 : 5);
        });
  }

  @Test
  void regMeanSolvesTheLeastSquares() {
    List<float[]> weights = List.of(new float[] {1, 2}, new float[] {3, 0});
    List<float[]> grams = List.of(new float[] {2, 1, 1, 1}, new float[] {1, 0, 0, 3});
    close(new RegMean(1).merge(1, 2, weights, grams), 1e-5, 2.272727f, .181818f);
    close(new RegMean(.9).merge(1, 2, weights, grams), 1e-5, 2.197498f, .230563f);
    close(new RegMean(0).merge(1, 2, weights, grams), 1e-5, 1.666667f, .5f);
    assertThatThrownBy(
            () -> new RegMean(1).merge(1, 2, weights, List.of(new float[4], new float[4])))
        .hasMessageContaining("not positive definite");
  }

  @Test
  void loraHubFindsUsefulWeights() {
    double[] target = {1, -.5, 0};
    double[] found =
        LoraHub.search(
                3,
                400,
                7,
                Scorer.of(
                    w -> {
                      double loss = 0;
                      for (int i = 0; i < 3; i++) {
                        loss += (w.get(i) - target[i]) * (w.get(i) - target[i]);
                      }
                      return -loss;
                    }))
            .weights()
            .stream()
            .mapToDouble(Double::doubleValue)
            .toArray();
    assertThat(found).containsExactly(target, within(.05));
    LoraModule composed = LoraHub.compose(List.of(ONE, TWO), new double[] {1, .5});
    // A = [2.5, 2], B = [1, .5], scaling 2.
    close(composed.deltaWeight(), 1e-6, 5, 4, 2.5f, 2);
  }
}
