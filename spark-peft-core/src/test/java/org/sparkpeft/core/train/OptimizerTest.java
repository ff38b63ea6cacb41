package org.sparkpeft.core.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import org.assertj.core.data.Offset;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

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
}
