package org.sparkpeft.federated.round;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

class CohortSamplerTest {
  private static final List<String> CLIENTS =
      IntStream.range(0, 20).mapToObj(i -> "c" + i).toList();

  @Test
  void aDrawDependsOnSeedAndRoundOnly() {
    List<String> shuffled = new ArrayList<>(CLIENTS);
    Collections.reverse(shuffled);
    List<String> cohort = new CohortSampler(3, CLIENTS, 7).draw(5);
    assertThat(cohort).hasSize(7).doesNotHaveDuplicates().isSorted();
    assertThat(new CohortSampler(3, shuffled, 7).draw(5)).isEqualTo(cohort);
    assertThat(new CohortSampler(3, CLIENTS, 7).draw(6)).isNotEqualTo(cohort);
    assertThat(new CohortSampler(4, CLIENTS, 7).draw(5)).isNotEqualTo(cohort);
  }

  @Test
  void everyClientIsDrawnAboutEquallyOften() {
    CohortSampler sampler = new CohortSampler(1, CLIENTS, 5);
    Map<String, Integer> times = new TreeMap<>();
    for (int round = 1; round <= 2000; round++) {
      sampler.draw(round).forEach(client -> times.merge(client, 1, Integer::sum));
    }
    assertThat(times).hasSize(20);
    assertThat(times.values()).allMatch(n -> n > 420 && n < 580);
  }

  @Test
  void impossibleSizesAreRefused() {
    assertThatThrownBy(() -> new CohortSampler(1, CLIENTS, 21))
        .hasMessageContaining("21")
        .hasMessageContaining("20");
    assertThatThrownBy(() -> new CohortSampler(1, CLIENTS, 0)).hasMessageContaining("0");
  }
}
