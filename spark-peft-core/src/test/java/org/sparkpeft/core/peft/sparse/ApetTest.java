package org.sparkpeft.core.peft.sparse;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.TargetModules;
import org.sparkpeft.core.peft.TensorRole;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.train.TunableModel;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;

class ApetTest {
  private static Apet.Config config(int budget, long seed) {
    return new Apet.Config(
        new TargetModules(List.of(), "all-linear"), budget, seed, 2, 4, 4, List.of());
  }

  @Test
  void takesWhatFitsFirst() {
    // LoRA of rank 2 on 6 x 3: 12 numbers in A, 6 in B
    List<Apet.Group> groups = List.of(Apet.Group.lora(ModuleSpec.linear("a", 6, 3), 2));
    Philox random = Philox.of(1, "t");
    assertThat(Apet.take(groups, 11, random)).isEmpty();
    assertThat(Apet.take(groups, 12, random)).as("A fits; B may go over").hasSize(1);
    Apet.Group adapter = Apet.Group.adapter(ModuleSpec.linear("b", 9, 5), 4);
    assertThat(adapter.shapes().values())
        .containsExactly(List.of(4, 5), List.of(4), List.of(5, 4), List.of(5));
    List<Apet.Group> three = List.of(groups.get(0), groups.get(0), groups.get(0));
    assertThat(Apet.take(three, 30, random)).hasSize(2);
    assertThat(Apet.take(three, 18, random)).as("nothing is left").hasSize(1);
  }

  @Test
  void budgetIsHalvedAndTheSeedDecides() {
    try (TunableModel model = TinyBert.load(config(4000, 1))) {
      ModuleTree modules = model.modules();
      AttachedMethod one = new Apet().attach(config(4000, 1), modules);
      Set<String> names = one.shapes().keySet();
      int base = 0;
      int other = 0;
      for (ParameterLayout.Entry entry : ParameterLayout.of(one.shapes()).entries()) {
        boolean difference = entry.name().contains(".diff");
        base += difference ? entry.size() : 0;
        other += difference ? 0 : entry.size();
        assertThat(one.role(entry.name()))
            .isEqualTo(difference ? TensorRole.LINEAR : TensorRole.FACTOR);
      }
      assertThat(base).isBetween(1000, 2000);
      assertThat(other).isBetween(1500, 2400);
      assertThat(new Apet().attach(config(4000, 1), modules).shapes().keySet()).isEqualTo(names);
      assertThat(new Apet().attach(config(4000, 2), modules).shapes().keySet()).isNotEqualTo(names);
      assertThat(one.whyNotFused().isPresent())
          .isEqualTo(names.stream().anyMatch(n -> n.contains("adapter_")));
    }
  }

  @Test
  void fusesLoraAndDifferences() {
    ModuleTree modules = new ModuleTree(List.of(ModuleSpec.linear("a", 3, 2)));
    AttachedMethod method = new Apet().attach(config(1000, 1), modules);
    assertThat(method.shapes())
        .containsOnlyKeys("a.lora_A.weight", "a.lora_B.weight", "a.diff", "a.diff_b");
    ParameterLayout layout = ParameterLayout.of(method.shapes());
    float[] flat = new float[layout.size()];
    Map<String, float[]> values =
        Map.of(
            "a.lora_A.weight", new float[] {1, 2, -1, 0, 0, 1},
            "a.lora_B.weight", new float[] {2, 1, -1, 0},
            "a.diff", new float[] {0, 0, 0, 0, 10, 0},
            "a.diff_b", new float[] {0, 3});
    values.forEach(
        (name, own) -> System.arraycopy(own, 0, flat, layout.entry(name).offset(), own.length));
    Map<String, float[]> fused =
        method.fuse(
            ParameterVector.of(layout, flat),
            MethodState.EMPTY,
            n -> n.endsWith("bias") ? new float[] {1, 1} : new float[] {1, 0, 2, 0, 1, -1});
    // scale 4 / 2; B A = [2 4 -1; -1 -2 1]
    assertThat(fused.get("a.weight")).containsExactly(5, 8, 0, -2, 7, 1);
    assertThat(fused.get("a.bias")).containsExactly(1, 4);
  }

  @Test
  void refusesABudgetThatFitsNothing() {
    ModuleTree modules = new ModuleTree(List.of(ModuleSpec.linear("a", 30, 20)));
    assertThatThrownBy(() -> new Apet().attach(config(20, 1), modules))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("budget");
    assertThatThrownBy(() -> new Apet.Config(TargetModules.of("a"), 1, 1, 0, 0, 0, List.of()))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("adapter_size")
        .hasMessageContaining("lora_alpha");
  }
}
