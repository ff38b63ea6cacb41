package org.sparkpeft.core.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.sparkpeft.core.peft.TensorRole;
import org.sparkpeft.core.vector.ParameterLayout;

class OptimizerTest {
  @Test
  void adamWOfTheTextbook() {
    AdamW adam = new AdamW(1, 0.9, 0.999, 1e-8, 0.01, TensorRates.uniform(1));
    float[] p = {1};
    double[] expected = {0.899000002, 0.8635404181, 0.8247377004};
    float[] gradients = {0.5f, -0.2f, 0.1f};
    for (int t = 0; t < 3; t++) {
      adam.step(p, new float[] {gradients[t]}, 0.1);
      assertThat((double) p[0]).isCloseTo(expected[t], Offset.offset(2e-7));
    }
  }

  @Test
  void sgdWithDecoupledDecay() {
    float[] p = {1, -2};
    new Sgd(0.5, TensorRates.uniform(2)).step(p, new float[] {0.2f, 1}, 0.1);
    assertThat(p[0]).isCloseTo(0.95f - 0.02f, Offset.offset(1e-6f));
    assertThat(p[1]).isCloseTo(-1.9f - 0.1f, Offset.offset(1e-6f));
  }

  @ParameterizedTest
  @CsvSource({
    "linear, .25, .75", "rex, .25, .857143", "cosine, .25, .853553",
    "linear, .5, .5", "rex, .5, .666667", "cosine, .5, .5",
    "linear, .75, .25", "rex, .75, .4", "cosine, .75, .146447",
    "linear, .9, .1", "rex, .9, .181818", "cosine, .9, .024472",
    "linear, 1, 0", "rex, 1, 0", "cosine, 1, 0",
    "constant, .3, 1", "constant, 1, 1"
  })
  void schedules(String name, double progress, double factor) {
    assertThat(Schedule.named(name).factor(progress, progress, 0))
        .isCloseTo(factor, Offset.offset(1e-6));
  }

  @Test
  void warmUpRisesToTheProfileThenRestartsIt() {
    Schedule linear = Schedule.LINEAR;
    assertThat(linear.factor(0, 0.05, 0.2)).isCloseTo(0.25, Offset.offset(1e-12));
    assertThat(linear.factor(0.15, 0.2, 0.2)).isCloseTo(1, Offset.offset(1e-12));
    assertThat(linear.factor(0.2, 0.25, 0.2)).isCloseTo(1, Offset.offset(1e-12));
    assertThat(linear.factor(0.6, 0.65, 0.2)).isCloseTo(0.5, Offset.offset(1e-12));
  }

  @Test
  void seededMomentsAreFreedFromBias() {
    AdamW adam = new AdamW(1, 0.9, 0.999, 0, 0, TensorRates.uniform(1));
    adam.seed(0, -3.0 / 5, 2.0 / 5, 5);
    float[] parameters = {0};
    adam.step(parameters, new float[] {-0.6f}, 1);
    // m = -.245706, v = .001996004 at age 5; one more gradient of -.6
    double m = 0.9 * -0.245706 + 0.1 * -0.6;
    double v = 0.999 * 0.001996004 + 0.001 * 0.36;
    double expected = -(m / (1 - Math.pow(0.9, 6))) / Math.sqrt(v / (1 - Math.pow(0.999, 6)));
    assertThat((double) parameters[0]).isCloseTo(expected, within(1e-5));
  }

  private static final ParameterLayout MATRIX = ParameterLayout.of(Map.of("w", List.of(2, 3)));

  private static TensorRates.Stretch all(int size) {
    return new TensorRates.Stretch(0, size, 1, true);
  }

  @Test
  void lionMovesByTheRateWhateverTheGradient() {
    Lion lion = new Lion(3, 0.9, 0.99, 0.1, TensorRates.uniform(3));
    float[] p = {1, 1, 0};
    lion.step(p, new float[] {5, -1e-6f, 0}, 0.01);
    assertThat(p).containsExactly(new float[] {0.989f, 1.009f, 0}, within(1e-6f));
    // m = .05 and -1e-8: beta1 m + (1 - beta1) g is .045 - .04 above zero, and below.
    lion.step(p, new float[] {-0.4f, -1, 0}, 0.01);
    assertThat(p[0]).isCloseTo(0.989f * 0.999f - 0.01f, within(1e-6f));
    assertThat(p[1]).isCloseTo(1.009f * 0.999f + 0.01f, within(1e-6f));
  }

  @Test
  void adafactorFactorsSecondMoments() {
    Adafactor adafactor = new Adafactor(MATRIX, 0.999, 0, List.of(all(6)));
    float[] g = {1, 2, 3, 2, 4, 6}; // of rank one, so that the factors are exact
    float[] p = new float[6];
    adafactor.step(p, g, 0.1);
    // At t = 1 the mean is the square itself: each entry moves by the rate.
    assertThat(p).containsOnly(new float[] {-0.1f}, within(1e-6f));
    adafactor.step(p, new float[] {0, 0, 0, 0, 0, 60}, 0.1);
    // R = b (14, 56) / 3 + (1 - b) (0, 1200), C = b (2.5, 10, 22.5) + (1 - b) (0, 0, 1800)
    double b = 1 - Math.pow(2, -0.8);
    double r1 = b * 14 / 3;
    double r2 = b * 56 / 3 + (1 - b) * 1200;
    double c3 = b * 22.5 + (1 - b) * 1800;
    double u = 60 / Math.sqrt(r2 * c3 / ((r1 + r2) / 2));
    double clipped = u / Math.max(1, u / Math.sqrt(6));
    assertThat((double) p[5]).isCloseTo(-0.1 - 0.1 * clipped, within(1e-5));
    assertThat(p[0]).isCloseTo(-0.1f, within(1e-6f));
  }

  @Test
  void adafactorClipsWhatIsLarge() {
    ParameterLayout vector = ParameterLayout.of(Map.of("b", List.of(4)));
    Adafactor adafactor = new Adafactor(vector, 0.999, 0, List.of(all(4)));
    float[] p = new float[4];
    for (int t = 0; t < 50; t++) {
      adafactor.step(p, new float[] {1e-3f, 1e-3f, 1e-3f, 1e-3f}, 0.01);
    }
    float before = p[0];
    adafactor.step(p, new float[] {1, 1, 1, 1}, 0.01);
    assertThat(before - p[0]).isCloseTo(0.01f, within(1e-4f)); // RMS 1, though the gradient jumped
  }

  @Test
  void sm3IsAdagradWhereRowsTellEverything() {
    Sm3 sm3 = new Sm3(MATRIX, 0, List.of(all(6)));
    float[] p = new float[6];
    sm3.step(p, new float[] {1, 2, -1, 0, 0, 0}, 0.1);
    assertThat(p).containsExactly(new float[] {-0.1f, -0.1f, 0.1f, 0, 0, 0}, within(1e-6f));
    // Rows (4, 0), columns (1, 4, 1): the bound of entry (0, 0) is 1, of (0, 1) is 4.
    sm3.step(p, new float[] {1, 2, 0, 0, 0, 3}, 0.1);
    assertThat((double) p[0]).isCloseTo(-0.1 - 0.1 / Math.sqrt(2), within(1e-6));
    assertThat((double) p[1]).isCloseTo(-0.1 - 0.2 / Math.sqrt(8), within(1e-6));
    assertThat((double) p[5]).isCloseTo(-0.1, within(1e-6));
  }

  @Test
  void sm3NeverFallsBelowTheTrueSums() {
    ParameterLayout layout =
        ParameterLayout.of(Map.of("a", List.of(4, 5), "b", List.of(3), "c", List.of(2, 3, 2)));
    TensorRates.Stretch[] stretches =
        layout.entries().stream()
            .map(entry -> new TensorRates.Stretch(entry.offset(), entry.end(), 1, true))
            .toArray(TensorRates.Stretch[]::new);
    Sm3 sm3 = new Sm3(layout, 0, List.of(stretches));
    SplittableRandom random = new SplittableRandom(4);
    double[] sums = new double[layout.size()];
    for (int step = 0; step < 30; step++) {
      float[] gradient = new float[layout.size()];
      for (int i = 0; i < gradient.length; i++) {
        gradient[i] = random.nextInt(3) == 0 ? (float) random.nextGaussian() : 0;
        sums[i] += (double) gradient[i] * gradient[i];
      }
      sm3.step(new float[layout.size()], gradient, 0.1);
    }
    for (int t = 0; t < 3; t++) {
      ParameterLayout.Entry entry = layout.entries().get(t);
      TensorMatrix tensor = TensorMatrix.of(entry);
      for (int i = 0; i < tensor.rows(); i++) {
        for (int j = 0; j < tensor.columns(); j++) {
          assertThat((double) sm3.bound(t, i, j))
              .isGreaterThan(0.9999 * sums[entry.offset() + i * tensor.columns() + j]);
        }
      }
    }
  }

  @Test
  void eightBitsFollowThirtyTwo() {
    int n = 5000;
    ParameterLayout layout = ParameterLayout.of(Map.of("w", List.of(n)));
    AdamW full = new AdamW(n, 0.9, 0.999, 1e-8, 0.01, TensorRates.uniform(n));
    AdamW8Bit bytes = new AdamW8Bit(0.9, 0.999, 1e-8, 0.01, List.of(all(n)));
    SplittableRandom random = new SplittableRandom(6);
    float[] target = new float[n];
    for (int i = 0; i < n; i++) {
      target[i] = (float) random.nextGaussian();
    }
    float[] p = new float[n];
    float[] q = new float[n];
    for (int step = 0; step < 300; step++) {
      full.step(p, difference(p, target), 0.01);
      bytes.step(q, difference(q, target), 0.01);
      if (step % 50 == 49) {
        double distance = norm(difference(p, q)) / norm(p);
        assertThat(distance).isBetween(1e-6, 0.05); // not the same code, but the same path
      }
    }
    assertThat(AdamW8Bit.bytes(layout)).isEqualTo(2 * (n + 4 * 20));
  }

  private static float[] difference(float[] a, float[] b) {
    float[] difference = new float[a.length];
    for (int i = 0; i < a.length; i++) {
      difference[i] = a[i] - b[i];
    }
    return difference;
  }

  private static double norm(float[] values) {
    double sum = 0;
    for (float value : values) {
      sum += (double) value * value;
    }
    return Math.sqrt(sum);
  }

  @Test
  void smallTensorsKeepThirtyTwoBits() {
    AdamW full = new AdamW(100, 0.9, 0.999, 1e-8, 0.01, TensorRates.uniform(100));
    AdamW8Bit bytes = new AdamW8Bit(0.9, 0.999, 1e-8, 0.01, List.of(all(100)));
    float[] p = new float[100];
    float[] q = new float[100];
    float[] gradient = new float[100];
    for (int step = 1; step < 20; step++) {
      java.util.Arrays.fill(gradient, 1f / step);
      full.step(p, gradient, 0.1);
      bytes.step(q, gradient, 0.1);
    }
    assertThat(q).isEqualTo(p);
  }

  /** A matrix of 2000 entries, 80 rows and 25 columns, and a vector of 6. */
  @ParameterizedTest
  @CsvSource({
    "adamw, 16048",
    "adamw_8bit, 16048",
    "adafactor, 888",
    "sm3, 444",
    "lion, 8024",
    "sgd, 0"
  })
  void whatIsRemembered(String name, long bytes) {
    ParameterLayout layout =
        ParameterLayout.of(Map.of("bias", List.of(6), "matrix", List.of(80, 25)));
    assertThat(Optimizer.bytes(config(name), layout)).isEqualTo(bytes);
  }

  private static TrainConfig config(String optimizer) {
    return new TrainConfig(
        1, 0, 8, 1, optimizer, 3e-3, 0.01, 0.9, 0.999, 1e-8, 1.0, "rex", "federation", 0, true);
  }

  @Test
  void everyNameIsAnOptimiserThatLearns() {
    ParameterLayout layout = ParameterLayout.of(Map.of("w", List.of(80, 60)));
    for (String name : Optimizer.NAMES) {
      Optimizer optimizer = Optimizer.of(config(name), layout, tensor -> TensorRole.LINEAR);
      float[] target = new float[layout.size()];
      java.util.Arrays.fill(target, 1);
      float[] p = new float[layout.size()];
      for (int step = 0; step < 200; step++) {
        optimizer.step(p, difference(p, target), 0.05);
      }
      assertThat(norm(difference(p, target)) / norm(target)).as(name).isLessThan(0.2);
    }
  }
}
