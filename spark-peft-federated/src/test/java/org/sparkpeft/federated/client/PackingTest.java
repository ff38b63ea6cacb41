package org.sparkpeft.federated.client;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.sparkpeft.core.data.Examples;

class PackingTest {
  /** A text of {@code length} tokens, all of them {@code id}. */
  private static WordTargets text(int id, int length) {
    int[] tokens = new int[length];
    Arrays.fill(tokens, id);
    return new WordTargets(tokens, tokens.clone());
  }

  private static Examples packed(List<WordTargets> texts, int most) {
    Examples.Builder builder = Examples.builder();
    Packing.pack(builder, texts, most);
    return builder.build();
  }

  @Test
  void theFullestSequenceWithRoomTakesAText() {
    Examples packed =
        packed(List.of(text(1, 2), text(2, 6), text(3, 4), text(4, 3), text(5, 5)), 10);

    List<String> sequences = new ArrayList<>();
    for (int i = 0; i < packed.size(); i++) {
      sequences.add(
          Arrays.toString(packed.tokens(i))
              + Arrays.toString(packed.documents(i))
              + Arrays.toString(packed.classes(i)));
    }
    assertThat(sequences)
        .containsExactlyInAnyOrder(
            "[2, 2, 2, 2, 2, 2, 3, 3, 3, 3][6, 4][-100, 2, 2, 2, 2, 2, -100, 3, 3, 3]",
            "[5, 5, 5, 5, 5, 4, 4, 4, 1, 1][5, 3, 2][-100, 5, 5, 5, 5, -100, 4, 4, -100, 1]");
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 2, 3, 4, 5})
  void everyTextIsThereOnceAndWhole(int seed) {
    Random random = new Random(seed);
    int most = 4 + random.nextInt(60);
    List<WordTargets> texts = new ArrayList<>();
    TreeMap<Integer, Integer> lengths = new TreeMap<>();
    for (int id = 0; id < 200; id++) {
      int length = 1 + random.nextInt(most);
      texts.add(text(id, length));
      lengths.put(id, length);
    }
    Examples packed = packed(texts, most);
    TreeMap<Integer, Integer> found = new TreeMap<>();
    for (int i = 0; i < packed.size(); i++) {
      assertThat(packed.tokens(i).length).as("seed %s", seed).isLessThanOrEqualTo(most);
      int at = 0;
      for (int length : packed.documents(i)) {
        assertThat(found.put(packed.tokens(i)[at], length)).as("seed %s", seed).isNull();
        at += length;
      }
    }
    assertThat(found).as("seed %s", seed).isEqualTo(lengths);
  }
}
