package org.sparkpeft.federated.client;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.sparkpeft.core.train.TrainConfig;
import org.sparkpeft.merge.compress.CodecConfig;

class ClientGroupsTest {
  private static final Map<String, Long> SIZES =
      Map.of("a", 3L, "b", 9L, "c", 3L, "d", 1L, "e", 7L);

  @Test
  void neighboursBySizeAreTogetherWhateverTheirOrder() {
    List<List<String>> expected = List.of(List.of("b", "e"), List.of("a", "c"), List.of("d"));
    assertThat(ClientGroups.of(List.of("a", "b", "c", "d", "e"), SIZES::get, 2))
        .isEqualTo(expected);
    assertThat(ClientGroups.of(List.of("e", "d", "c", "b", "a"), SIZES::get, 2))
        .isEqualTo(expected);
    assertThat(ClientGroups.of(Set.of("a", "d"), SIZES::get, 64))
        .isEqualTo(List.of(List.of("a", "d")));
  }

  @Test
  void groupsStayWhenOthersAreLeftOut() {
    TreeMap<String, Integer> cohort = new TreeMap<>();
    SIZES.keySet().forEach(client -> cohort.put(client, 0));
    RoundOrder order =
        new RoundOrder(
            "run",
            1,
            1,
            0,
            1,
            TrainConfig.defaults(),
            0,
            CodecConfig.uncompressed(),
            cohort,
            ClientGroups.of(cohort.keySet(), SIZES::get, 2),
            0);
    cohort.remove("b");
    cohort.remove("e");
    assertThat(order.withCohort(cohort).groups())
        .isEqualTo(List.of(List.of("a", "c"), List.of("d")));
  }
}
