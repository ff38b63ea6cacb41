package org.sparkpeft.core.peft.sparse;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.RoundDecision;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.train.LocalResult;
import org.sparkpeft.core.train.TunableModel;
import org.sparkpeft.core.vector.ParameterVector;

/** Whole tensors, all or in turn: FULL, HFT, LISA. */
class RotationTest {

  private static List<List<String>> layers(int count, int size) {
    List<List<String>> layers = new ArrayList<>();
    for (int l = 0; l < count; l++) {
      List<String> members = new ArrayList<>();
      for (int m = 0; m < size; m++) {
        members.add(l + "." + m);
      }
      layers.add(members);
    }
    return layers;
  }

  @Test
  void halfOfEachCategory() {
    Philox random = Philox.of(1, "test");
    assertThat(Hft.half(layers(32, 4), random)).hasSize(64);
    assertThat(Hft.half(layers(32, 3), random)).hasSize(48);
    assertThat(Hft.half(layers(32, 2), random)).hasSize(32);
    Set<String> norms = Hft.half(layers(4, 1), random);
    assertThat(norms.equals(Set.of("0.0", "2.0")) || norms.equals(Set.of("1.0", "3.0"))).isTrue();
    assertThat(Hft.half(layers(32, 4), random.child(1)))
        .isNotEqualTo(Hft.half(layers(32, 4), random));
  }

  @Test
  void layersAreDrawnEvenly() {
    int[] visits = new int[32];
    Set<String> draws = new HashSet<>();
    for (int number = 0; number < 800; number++) {
      int[] active = Lisa.active(new Draw(7, number), 32, 2);
      assertThat(active).hasSize(2).doesNotHaveDuplicates();
      Arrays.stream(active).forEach(l -> visits[l]++);
      draws.add(Arrays.toString(active));
    }
    // 800 draws of 2 of 32: 50 visits each, 62.5 updates each for 50 draws of 20 updates
    assertThat(Arrays.stream(visits).sum()).isEqualTo(1600);
    assertThat(Arrays.stream(visits).allMatch(v -> v > 22 && v < 85)).isTrue();
    assertThat(draws.size()).isGreaterThan(300);
    assertThat(Lisa.active(new Draw(7, 0), 3, 5)).containsExactly(0, 1, 2);
  }

  /** Trains, and returns the names of the method's tensors that changed. */
  private static Set<String> changed(LocalResult result, ParameterVector start) {
    Set<String> changed = new HashSet<>();
    for (String name : start.layout().shapes().keySet()) {
      if (!Arrays.equals(result.parameters().tensor(name), start.tensor(name))) {
        changed.add(name);
      }
    }
    return changed;
  }

  @Test
  void restingLayersKeepTheirBitsWithinAnInterval() {
    try (TunableModel plain = TinyBert.load(new Lisa.Config(1, 4, true, List.of("classifier")))) {
      TunableModel model = plain.started(2);
      // differences that are not zero, so that decay would show
      ParameterVector start = TinyBert.moved(model.initialParameters(2), 0.01);
      int active = Lisa.active(new Draw(2, 0), 2, 1)[0];
      Set<String> changed = changed(TinyBert.train(model, start, 3, 0.1), start);
      assertThat(changed).contains("classifier.weight", "bert.embeddings.word_embeddings.diff");
      assertThat(changed).anyMatch(name -> name.contains("layer." + active + "."));
      assertThat(changed).noneMatch(name -> name.contains("layer." + (1 - active) + "."));

      LocalResult longer = TinyBert.train(model, start, 40, 0.1);
      assertThat(changed(longer, start)).anyMatch(n -> n.contains("layer." + (1 - active) + "."));
      assertThat(Draw.of(longer.state())).isEqualTo(new Draw(2, 10));
    }
  }

  @Test
  void restingHalfKeepsItsBitsAndTheDriverDrawsAnew() {
    PeftConfig config = new Hft.Config(1, false, List.of("classifier"));
    try (TunableModel plain = TinyBert.load(config)) {
      TunableModel model = plain.started(2);
      ParameterVector start = TinyBert.moved(model.initialParameters(2), 0.01);
      Set<String> first = changed(TinyBert.train(model, start, 3, 0.1), start);
      Set<String> weights = new HashSet<>(first);
      weights.removeIf(name -> !name.endsWith(".diff"));
      // of 2 layers: 2 of 4 projections, 1 of 2 feed-forward layers, 1 of 2 norms
      assertThat(weights).hasSize(8);
      AttachedMethod method = new Hft().attach((Hft.Config) config, model.modules());
      RoundDecision.Input input = new RoundDecision.Input(1, 4, Map.of(), start);
      RoundDecision.Output next = method.decide(model.state(), input);
      assertThat(next.parameters()).isEqualTo(start);
      assertThat(next.state()).isEqualTo(method.decide(model.state(), input).state());
      Set<String> second =
          changed(TinyBert.train(plain.withState(next.state()), start, 3, 0.1), start);
      assertThat(second).isNotEqualTo(first);
    }
  }

  @Test
  void stagesOfATrainingAlone() {
    try (TunableModel plain = TinyBert.load(new Hft.Config(3, false, List.of("classifier")))) {
      TunableModel model = plain.started(2);
      LocalResult result = TinyBert.train(model, model.initialParameters(2), 7, 0);
      assertThat(Draw.of(result.state())).isEqualTo(new Draw(2, 2));
    }
  }

  @Test
  void seedsSurviveTheState() {
    for (long seed : new long[] {0, -1, 1L << 40, Long.MIN_VALUE, 0xFFFFFFFFL}) {
      assertThat(Draw.of(new Draw(seed, 3).state())).isEqualTo(new Draw(seed, 3));
    }
  }

  @Test
  void fullTrainsEveryTensorOfTheEncoder() {
    try (TunableModel model = TinyBert.load(new Full().defaults())) {
      long own =
          model.layout().entries().stream()
              .filter(e -> e.name().endsWith(".diff") || e.name().endsWith(".diff_b"))
              .mapToLong(e -> e.size())
              .sum();
      assertThat(own).isEqualTo(model.baseParameters());
      ParameterVector start = model.initialParameters(1);
      Set<String> changed = changed(TinyBert.train(model, start, 2, 0), start);
      assertThat(changed).isEqualTo(start.layout().shapes().keySet());
    }
  }

  @Test
  void needsLayers() {
    ModuleTree flat = new ModuleTree(List.of(ModuleSpec.linear("a", 2, 2)));
    assertThatThrownBy(() -> new Lisa().attach(new Lisa().defaults(), flat))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("LISA");
    assertThatThrownBy(() -> new Hft().attach(new Hft().defaults(), flat))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("HFT");
    assertThatThrownBy(() -> new Lisa.Config(0, 0, true, List.of()))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("lisa_activated_layers")
        .hasMessageContaining("lisa_interval_steps");
    assertThatThrownBy(() -> new Hft.Config(0, true, List.of()))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("stages");
    MethodState state = new Draw(1, 1).state();
    assertThat(state.tensors()).hasSize(1);
  }
}
