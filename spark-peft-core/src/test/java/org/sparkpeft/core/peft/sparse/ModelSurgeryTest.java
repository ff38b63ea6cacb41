package org.sparkpeft.core.peft.sparse;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.List;
import java.util.Objects;
import org.junit.jupiter.api.Test;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.Lora;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;

class ModelSurgeryTest {
  private static final List<ModuleSpec> LAYERS = List.of(ModuleSpec.linear("up", 2, 4));
  private static final float[] ROWS = {1, 0, -2, 1, 0, 3, -1, -1};
  private static final float[] V = {1, 0};

  @Test
  void shiftsTheRowsMostOpposedAsAnExactLora() {
    List<ModelSurgery.Row> all = ModelSurgery.mostOpposed(LAYERS, V, 9, n -> ROWS);
    assertThat(all).extracting(ModelSurgery.Row::row).containsExactly(1, 3, 2, 0);
    assertThat(all.get(0).cosine()).isCloseTo(-.894427, within(1e-6));
    assertThat(all.get(1).cosine()).isCloseTo(-.707107, within(1e-6));
    assertThat(all.get(3).cosine()).isCloseTo(1, within(1e-12));

    List<ModelSurgery.Row> two = ModelSurgery.mostOpposed(LAYERS, V, 2, n -> ROWS);
    ModelSurgery.Edit edit = ModelSurgery.edit(LAYERS, two, V, .5);
    AttachedMethod lora = new Lora().attach(edit.config(), new ModuleTree(LAYERS));
    ParameterLayout layout = ParameterLayout.of(lora.shapes());
    float[] flat = new float[layout.size()];
    edit.tensors()
        .forEach(
            (name, values) ->
                System.arraycopy(values, 0, flat, layout.entry(name).offset(), values.length));
    assertThat(lora.shapes().keySet()).isEqualTo(edit.tensors().keySet());
    float[] fused =
        Objects.requireNonNull(
            lora.fuse(ParameterVector.of(layout, flat), MethodState.EMPTY, n -> ROWS)
                .get("up.weight"));
    assertThat(fused).containsExactly(1, 0, -1.5f, 1, 0, 3, -.5f, -1);
    float[] change = new float[8];
    for (int i = 0; i < 8; i++) {
      change[i] = fused[i] - ROWS[i];
    }
    assertThat(ModelSurgery.alignment(change, V)).isCloseTo(1, within(1e-9));
  }

  @Test
  void tiesGoToTheLowerLayerAndRow() {
    List<ModuleSpec> two = List.of(ModuleSpec.linear("a", 2, 2), ModuleSpec.linear("b", 2, 2));
    float[] same = {-1, 0, -1, 0};
    assertThat(ModelSurgery.mostOpposed(two, V, 3, n -> same))
        .containsExactly(
            new ModelSurgery.Row(0, 0, -1),
            new ModelSurgery.Row(0, 1, -1),
            new ModelSurgery.Row(1, 0, -1));
    List<ModelSurgery.Row> first = List.of(new ModelSurgery.Row(1, 0, -1));
    assertThat(ModelSurgery.edit(two, first, V, 1).tensors())
        .containsOnlyKeys("b.lora_A.weight", "b.lora_B.weight");
  }

  @Test
  void probeFindsTheDirection() {
    float[][] features = new float[200][];
    boolean[] undesired = new boolean[200];
    for (int i = 0; i < 200; i++) {
      features[i] = Philox.of(1, "x", i).gaussian(3, 1);
      undesired[i] = features[i][0] - features[i][2] > 0;
    }
    float[] v = ModelSurgery.probe(features, undesired, 20, 1e-2, 16, 4);
    double cosine = (v[0] - v[2]) / Math.sqrt(2 * (v[0] * v[0] + v[1] * v[1] + v[2] * v[2]));
    assertThat(cosine).isGreaterThan(.97);
    assertThat(ModelSurgery.probe(features, undesired, 20, 1e-2, 16, 4)).containsExactly(v);
  }

  @Test
  void refusesWhatDoesNotFit() {
    assertThatThrownBy(() -> ModelSurgery.mostOpposed(LAYERS, new float[] {1, 0, 0}, 2, n -> ROWS))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("3 inputs");
    assertThatThrownBy(() -> ModelSurgery.mostOpposed(LAYERS, new float[2], 2, n -> ROWS))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("norm");
    assertThatThrownBy(() -> ModelSurgery.edit(LAYERS, List.of(), V, 0))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("alpha");
    assertThatThrownBy(() -> ModelSurgery.probe(new float[2][2], new boolean[3], 1, 1, 1, 1))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("features");
  }
}
