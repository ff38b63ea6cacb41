package org.sparkpeft.core.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.sparkpeft.core.error.ConfigException;

/** Numbers worked out by hand from the papers' formulas, for one pair. */
class PreferenceLossTest {
  private static final PairLoss.Pair PAIR = new PairLoss.Pair(-12, -15, -13, -14.5, 6, 5);
  private static final PairLoss.Pair NO_REFERENCE = new PairLoss.Pair(-12, -15, 0, 0, 6, 5);
  private static final PreferenceConfig USUAL = PreferenceConfig.defaults();

  private static PreferenceConfig settings(double smoothing, double rpoAlpha) {
    return new PreferenceConfig("auto", 0.1, smoothing, 1, 1, false, rpoAlpha, 0);
  }

  @ParameterizedTest
  @CsvSource({
    "SIGMOID, 0, 0.620957",
    "SIGMOID, 0.1, 0.635957",
    "ROBUST, 0.1, 0.602207",
    "HINGE, 0, 0.85",
    "IPO_SUM, 0, 12.25",
    "IPO, 0, 22.404444",
    "SIGMOID_NORM, 0, 0.679903",
    "ORPO, 0, 2.028875",
  })
  void losses(PairLoss loss, double smoothing, double expected) {
    assertThat(loss.judge(PAIR, settings(smoothing, 0)).loss()).isEqualTo(expected, within(1e-6));
  }

  @Test
  void slopeOfDpo() {
    PairLoss.Judgement judged = PairLoss.SIGMOID.judge(PAIR, USUAL);
    assertThat(judged.byChosen()).isEqualTo(-0.0462570, within(1e-7));
    assertThat(judged.byRejected()).isEqualTo(0.0462570, within(1e-7));
    assertThat(judged.chosenReward()).isEqualTo(0.1, within(1e-12));
    assertThat(judged.rejectedReward()).isEqualTo(-0.05, within(1e-12));
  }

  @Test
  void withoutReferenceAndWithTheChosenLikelihood() {
    assertThat(PairLoss.SIGMOID.judge(NO_REFERENCE, USUAL).loss())
        .isEqualTo(0.554355, within(1e-6));
    // 12 / 6 nats for each chosen token
    assertThat(PairLoss.SIGMOID.judge(PAIR, settings(0, 0.5)).loss())
        .isEqualTo(1.620957, within(1e-6));
  }

  @Test
  void policyThatIsTheReferenceCostsLogTwo() {
    PairLoss.Pair same = new PairLoss.Pair(-12, -15, -12, -15, 6, 5);
    assertThat(PairLoss.SIGMOID.judge(same, USUAL).loss()).isEqualTo(0.693147, within(1e-6));
  }

  @ParameterizedTest
  @EnumSource(PairLoss.class)
  void slopesAreThoseOfFiniteDifferences(PairLoss loss) {
    PreferenceConfig config = settings(0.1, loss == PairLoss.ORPO ? 0 : 0.3);
    for (PairLoss.Pair pair :
        List.of(PAIR, new PairLoss.Pair(-1, -90, -40, -2, 7, 3), NO_REFERENCE)) {
      PairLoss.Judgement judged = loss.judge(pair, config);
      double e = 1e-5;
      double chosen = (at(loss, pair, e, 0, config) - at(loss, pair, -e, 0, config)) / (2 * e);
      double rejected = (at(loss, pair, 0, e, config) - at(loss, pair, 0, -e, config)) / (2 * e);
      assertThat(judged.byChosen()).as("%s", pair).isEqualTo(chosen, within(1e-6));
      assertThat(judged.byRejected()).as("%s", pair).isEqualTo(rejected, within(1e-6));
    }
  }

  private static double at(
      PairLoss loss, PairLoss.Pair pair, double chosen, double rejected, PreferenceConfig config) {
    return loss.judge(
            new PairLoss.Pair(
                pair.policyChosen() + chosen,
                pair.policyRejected() + rejected,
                pair.referenceChosen(),
                pair.referenceRejected(),
                pair.chosenTokens(),
                pair.rejectedTokens()),
            config)
        .loss();
  }

  @ParameterizedTest
  @EnumSource(PairLoss.class)
  void extremesAreFinite(PairLoss loss) {
    for (PairLoss.Pair pair :
        List.of(
            new PairLoss.Pair(0, -20_000, -9_000, 0, 1, 1),
            new PairLoss.Pair(-20_000, 0, 0, -9_000, 1, 1))) {
      PairLoss.Judgement judged = loss.judge(pair, USUAL);
      assertThat(judged.loss()).as("%s", pair).isFinite();
      assertThat(judged.byChosen()).isFinite();
      assertThat(judged.byRejected()).isFinite();
    }
  }

  @Test
  void kto() {
    double point = KtoLoss.referencePoint(0.4 - 0.1, 2);
    assertThat(point).isEqualTo(0.15, within(1e-12));
    PreferenceConfig config = new PreferenceConfig("auto", 0.1, 0, 1, 1.33, false, 0, 0);
    assertThat(KtoLoss.of(1, true, point, config).value()).isEqualTo(0.4787628, within(1e-7));
    assertThat(KtoLoss.of(-0.5, false, point, config).value()).isEqualTo(0.6433951, within(1e-7));
    assertThat(KtoLoss.referencePoint(-0.2, 1)).isZero();
    assertThat(KtoLoss.referencePoint(0, 0)).isZero();
  }

  @ParameterizedTest
  @CsvSource({"true, 1", "false, 1", "true, -3", "false, 30"})
  void slopeOfKtoIsThatOfFiniteDifferences(boolean desirable, double ratio) {
    PreferenceConfig config = new PreferenceConfig("auto", 0.3, 0, 0.7, 1.33, false, 0, 0);
    double e = 1e-5;
    double expected =
        (KtoLoss.of(ratio + e, desirable, 0.4, config).value()
                - KtoLoss.of(ratio - e, desirable, 0.4, config).value())
            / (2 * e);
    assertThat(KtoLoss.of(ratio, desirable, 0.4, config).slope()).isEqualTo(expected, within(1e-8));
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "dpo | hinge | 0.1 | 1 | false | 0 | 0 | label_smoothing",
        "dpo | kto | 0 | 1 | false | 0 | 0 | loss_type: task dpo has auto, sigmoid",
        "ipo | sigmoid | 0 | 1 | false | 0 | 0 | loss_type",
        "dpo | auto | 0 | 2 | false | 0 | 0 | desirable_weight",
        "orpo | auto | 0 | 1 | true | 0 | 0 | reference_free",
        "kto | auto | 0 | 1 | false | 1 | 0 | rpo_alpha",
        "dpo | auto | 0 | 1 | false | 0 | 64 | max_prompt_length",
        "text-generation | auto | 0 | 2 | false | 0 | 0 | preference settings are for the tasks dpo"
      })
  void settingsThatDoNotGoWithTheTask(
      String task,
      String loss,
      double smoothing,
      double weight,
      boolean free,
      double rpo,
      int prompt,
      String message) {
    PreferenceConfig config =
        new PreferenceConfig(loss, 0.1, smoothing, weight, 1, free, rpo, prompt);
    assertThatThrownBy(() -> new TaskConfig(task, List.of(), "auto", 64, config))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining(message);
  }

  @ParameterizedTest
  @CsvSource({"0, 1, 1, beta", "-1, 1, 1, beta", "NaN, 1, 1, beta", "0.1, 0, 1, desirable_weight"})
  void settingsOutOfRange(double beta, double weight, double other, String key) {
    assertThatThrownBy(() -> new PreferenceConfig("auto", beta, 0, weight, other, false, 0, 0))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining(key);
  }
}
