package org.sparkpeft.core.vector;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

class ParameterLayoutTest {

  @Test
  void tensorsAreOrderedByTheirUtf8Bytes() {
    Map<String, List<Integer>> shapes = new LinkedHashMap<>();
    shapes.put("layer.10.b", List.of(2));
    shapes.put("layer.2.b", List.of(3, 5));
    shapes.put(
        "\uFF5E", List.of()); // above the surrogates as UTF-16, below an astral character as UTF-8
    shapes.put("\uD83D\uDE00", List.of(1));
    ParameterLayout layout = ParameterLayout.of(shapes);
    assertThat(layout.entries().stream().map(ParameterLayout.Entry::name))
        .containsExactly("layer.10.b", "layer.2.b", "\uFF5E", "\uD83D\uDE00");
    assertThat(layout.entries().stream().map(ParameterLayout.Entry::offset))
        .containsExactly(0, 2, 17, 18);
    assertThat(layout.size()).isEqualTo(19);
  }

  @Test
  void fingerprintTellsNamesAndShapesApart() {
    long a = ParameterLayout.of(Map.of("w", List.of(2, 3))).fingerprint();
    assertThat(a).isEqualTo(ParameterLayout.of(Map.of("w", List.of(2, 3))).fingerprint());
    assertThat(a).isNotEqualTo(ParameterLayout.of(Map.of("w", List.of(3, 2))).fingerprint());
    assertThat(a).isNotEqualTo(ParameterLayout.of(Map.of("v", List.of(2, 3))).fingerprint());
  }

  @Test
  void impossibleShapesAreRefused() {
    assertThatThrownBy(() -> ParameterLayout.of(Map.of("w", List.of(2, 0))))
        .hasMessageContaining("[2, 0]");
    assertThatThrownBy(() -> ParameterLayout.of(Map.of("w", List.of(1 << 20, 1 << 20))))
        .hasMessageContaining("w");
    assertThatThrownBy(() -> ParameterLayout.of(Map.of(" ", List.of(1))))
        .hasMessageContaining("blank");
  }

  @Test
  void differencesAndSumsKeepTheLayout() {
    ParameterLayout layout = ParameterLayout.of(Map.of("a", List.of(2), "b", List.of(1)));
    ParameterVector start = ParameterVector.of(layout, new float[] {1, 2, 3});
    ParameterVector end = ParameterVector.of(layout, new float[] {1.5f, 1, 3});
    assertThat(end.minus(start).toArray()).containsExactly(0.5f, -1f, 0f);
    assertThat(start.plus(end.minus(start))).isEqualTo(end);
    ParameterVector other = ParameterVector.zeros(ParameterLayout.of(Map.of("a", List.of(3))));
    assertThatThrownBy(() -> end.minus(other)).hasMessageContaining("layouts differ");
    assertThat(ParameterVector.of(layout, new float[] {0, Float.NaN, 0}).isFinite()).isFalse();
  }
}
