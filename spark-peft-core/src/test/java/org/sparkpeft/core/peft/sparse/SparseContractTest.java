package org.sparkpeft.core.peft.sparse;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.sparkpeft.core.io.AdapterDirectory;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.peft.HeadOnlyConfig;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethod;
import org.sparkpeft.core.peft.PeftMethods;
import org.sparkpeft.core.train.AdapterImport;
import org.sparkpeft.core.train.LocalResult;
import org.sparkpeft.core.train.TunableModel;
import org.sparkpeft.core.vector.ParameterVector;

/** What holds for every method of the package, at its defaults. */
class SparseContractTest {
  @TempDir Path temp;

  static List<PeftConfig> methods() {
    return PeftMethods.all().stream()
        .filter(m -> m.getClass().getPackage().equals(SparseContractTest.class.getPackage()))
        .map(PeftMethod::defaults)
        .map(PeftConfig.class::cast)
        .toList();
  }

  @Test
  void knowsThemAll() {
    assertThat(methods())
        .extracting(PeftConfig::peftType)
        .containsExactly(
            "APET",
            "DYNAMIC_SPARSE",
            "FULL",
            "HFT",
            "LISA",
            "LT_SFT",
            "PIVOTAL",
            "RANDOM_MASK",
            "SARA",
            "SPIEL_AG",
            "SPIEL_MA");
  }

  @ParameterizedTest
  @MethodSource("methods")
  void startsAsTheBase(PeftConfig config) {
    try (TunableModel plain = TinyBert.load(HeadOnlyConfig.defaults());
        TunableModel unstarted = TinyBert.load(config)) {
      TunableModel model = unstarted.started(3);
      assertThat(TinyBert.logits(model, model.initialParameters(3)))
          .isDeepEqualTo(TinyBert.logits(plain, plain.initialParameters(3)));
      assertThat(model.state()).isEqualTo(unstarted.initialState(3));
      assertThat(model.layout().size()).isGreaterThan(plain.layout().size());
    }
  }

  @ParameterizedTest
  @MethodSource("methods")
  void savedLoadedAndFusedComputesTheSame(PeftConfig config) {
    try (TunableModel unstarted = TinyBert.load(config)) {
      TunableModel model = unstarted.started(3);
      ParameterVector parameters = TinyBert.moved(model.initialParameters(3), 0.05);
      float[][] expected = TinyBert.logits(model, parameters);
      Path folder = temp.resolve("adapter");
      model.exportAdapter(parameters, folder);
      AdapterDirectory adapter = AdapterDirectory.read(folder);
      TunableModel again = unstarted.withState(unstarted.importState(adapter));
      assertThat(AdapterImport.config(adapter).peftType()).isEqualTo(config.peftType());
      assertThat(TinyBert.logits(again, unstarted.importAdapter(adapter))).isDeepEqualTo(expected);

      if (model.whyNotFused().isPresent()) {
        assertThat(config.peftType()).isEqualTo("APET");
        return;
      }
      ModelDirectory fused = model.exportFused(parameters, temp.resolve("fused"));
      try (TunableModel plain = TinyBert.load(fused, HeadOnlyConfig.defaults());
          TunableModel base = TinyBert.load(HeadOnlyConfig.defaults())) {
        float[][] actual = TinyBert.logits(plain, plain.initialParameters(3));
        assertThat(TinyBert.distance(actual, expected)).isLessThan(1e-5);
        float[][] untouched = TinyBert.logits(base, base.initialParameters(3));
        assertThat(TinyBert.distance(untouched, expected)).isGreaterThan(1e-4);
      }
    }
  }

  @ParameterizedTest
  @MethodSource("methods")
  void configurationSurvivesTheFileFormat(PeftConfig config) {
    Map<String, Object> fields = new LinkedHashMap<>(PeftMethods.writeConfig(config));
    fields.put("modules_to_save", config.modulesToSave());
    assertThat(PeftMethods.readConfig(fields)).isEqualTo(config);
  }

  @ParameterizedTest
  @MethodSource("methods")
  void learnsAloneAndInRounds(PeftConfig config) {
    try (TunableModel unstarted = TinyBert.load(config)) {
      TunableModel model = unstarted.started(3);
      ParameterVector start = model.initialParameters(3);
      LocalResult alone = TinyBert.train(model, start, 12, 0.01);
      assertThat(alone.losses().get(11)).isLessThan(alone.losses().get(0));
      LocalResult round = TinyBert.round(model, start, 6, 0, 0.5);
      round.report().values().forEach(v -> assertThat(v).doesNotContain(Float.NaN));
    }
  }
}
