package org.sparkpeft.core.data;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.random.Philox;

class ExamplesTest {
  private static final int[] SHAPE = {2};

  private static Examples mixed() {
    return Examples.builder()
        .addClass(new int[] {101, 7, 102}, 2)
        .addValues(new int[] {101, 102}, 0.5f, -1.25f)
        .addTokenClasses(new int[] {101, 8, 9, 102}, new int[] {-100, 0, 1, -100})
        .addPair(new int[] {101, 3, 102}, new int[] {101, 4, 5, 102})
        .ofTask(Examples.MAX_TASKS - 1)
        .addClass(new int[] {101, 7, 102}, 2)
        .build();
  }

  private static void assertSame(Examples a, Examples b) {
    assertThat(a.size()).isEqualTo(b.size());
    for (int i = 0; i < a.size(); i++) {
      assertThat(a.tokens(i)).isEqualTo(b.tokens(i));
      assertThat(a.pair(i)).isEqualTo(b.pair(i));
      assertThat(a.classes(i)).isEqualTo(b.classes(i));
      assertThat(a.values(i)).isEqualTo(b.values(i));
      assertThat(a.task(i)).isEqualTo(b.task(i));
    }
  }

  @Test
  void orderDoesNotDependOnArrival() {
    int[][] texts = {{1, 2}, {3}, {1, 2, 3}, {9, 9}, {4}};
    Examples.Builder forwards = Examples.builder();
    Examples.Builder backwards = Examples.builder();
    for (int i = 0; i < texts.length; i++) {
      forwards.addClass(texts[i], i);
      backwards.addClass(texts[texts.length - 1 - i], texts.length - 1 - i);
    }
    assertSame(forwards.build(), backwards.build());
    Examples first = Examples.builder().addClass(texts[0], 0).addClass(texts[3], 3).build();
    Examples rest =
        Examples.builder()
            .addClass(texts[4], 4)
            .addClass(texts[2], 2)
            .addClass(texts[1], 1)
            .build();
    assertSame(Examples.concat(List.of(rest, first)), forwards.build());
    assertThat(forwards.build().toArrow()).isEqualTo(backwards.build().toArrow());
  }

  @Test
  void arrowRoundTrip() {
    assertSame(Examples.fromArrow(mixed().toArrow()), mixed());
    Examples empty = Examples.builder().build();
    assertThat(Examples.fromArrow(empty.toArrow()).size()).isZero();
    Examples.Builder many = Examples.builder();
    Philox random = Philox.of(5, "examples");
    for (int i = 0; i < 3000; i++) {
      int[] tokens = new int[1 + (int) (random.doubleAt(i) * 60)];
      Arrays.setAll(tokens, t -> t * 31 + 7);
      many.addClass(tokens, i % 7);
    }
    assertSame(Examples.fromArrow(many.build().toArrow()), many.build());
  }

  @Test
  void tasksTravelAndTellTheSameTextApart() {
    Examples.Builder builder = Examples.builder();
    for (int task : new int[] {7, 0, 1}) {
      builder.ofTask(task).addClass(new int[] {1, 2}, task % 2).addMedia(new float[2], SHAPE, 0);
    }
    Examples examples = builder.build();
    assertSame(Examples.fromArrow(examples.toArrow()), examples);
    assertThat(IntStream.range(0, examples.size()).map(examples::task).sorted())
        .containsExactly(0, 0, 1, 1, 7, 7);
    for (int i = 0; i < examples.size(); i++) {
      if (examples.shape(i).length == 0) {
        assertThat(examples.classes(i)).containsExactly(examples.task(i) % 2);
      }
    }
  }

  @Test
  void numbersThatAreNoTasksAreRefused() {
    for (int task : new int[] {-1, Examples.MAX_TASKS, Integer.MAX_VALUE, Integer.MIN_VALUE}) {
      assertThatThrownBy(() -> Examples.builder().ofTask(task))
          .isInstanceOf(DataException.class)
          .hasMessage("tasks are numbered 0..9999, got " + task);
      Examples.Example hostile =
          new Examples.Example(
              new int[] {1},
              new int[0],
              new int[] {0},
              new float[0],
              new float[0],
              new int[0],
              task);
      byte[] bytes = ExamplesFormat.write(List.of(hostile));
      assertThatThrownBy(() -> Examples.fromArrow(bytes))
          .isInstanceOf(FormatException.class)
          .hasMessageContaining("has the tasks [" + task + "] for one example");
    }
  }

  @Test
  void otherVersionsAreNamed() {
    byte[] old = mixed().toArrow();
    java.nio.ByteBuffer.wrap(old).putInt(4, 2);
    assertThatThrownBy(() -> Examples.fromArrow(old))
        .isInstanceOf(FormatException.class)
        .hasMessageContaining("has version 2, this program reads 3");
  }

  @Test
  void doesNotShareArraysWithCallers() {
    int[] tokens = {1, 2};
    Examples examples = Examples.builder().addClass(tokens, 0).build();
    tokens[0] = 99;
    assertThat(examples.tokens(0)).containsExactly(1, 2);
  }

  @Test
  void everyDamagedByteIsFound() {
    byte[] good = mixed().toArrow();
    for (int i = 0; i < good.length; i++) {
      byte[] bad = good.clone();
      bad[i] ^= 0x20;
      assertThatThrownBy(() -> Examples.fromArrow(bad)).isInstanceOf(FormatException.class);
    }
    for (int length = 0; length < good.length; length += 7) {
      byte[] cut = Arrays.copyOf(good, length);
      assertThatThrownBy(() -> Examples.fromArrow(cut)).isInstanceOf(FormatException.class);
    }
  }

  @Test
  void garbageBehindARightChecksumIsRefused() {
    byte[] good = mixed().toArrow();
    for (int seed = 0; seed < 200; seed++) {
      byte[] content = Arrays.copyOfRange(good, 16, good.length);
      Philox random = Philox.of(seed, "damage");
      for (int hit = 0; hit < 4; hit++) {
        content[(int) (random.doubleAt(2 * hit) * content.length)] = (byte) random.intAt(99 + hit);
      }
      java.util.zip.CRC32C crc = new java.util.zip.CRC32C();
      crc.update(content, 0, content.length);
      byte[] bytes = good.clone();
      java.nio.ByteBuffer.wrap(bytes).putInt(8, (int) crc.getValue());
      System.arraycopy(content, 0, bytes, 16, content.length);
      try {
        Examples.fromArrow(bytes); // damage to a value may go unseen; it must not crash
      } catch (FormatException expected) {
        assertThat(expected).hasMessageContaining("examples");
      }
    }
  }

  @Test
  void refusesExamplesThatCannotBeTrainedOn() {
    assertThatThrownBy(() -> Examples.builder().addClass(new int[0], 1))
        .isInstanceOf(DataException.class);
    assertThatThrownBy(() -> Examples.builder().addValues(new int[] {1}, Float.NaN))
        .isInstanceOf(DataException.class);
    assertThatThrownBy(() -> Examples.builder().addTokenClasses(new int[] {1}, new int[2]))
        .isInstanceOf(DataException.class);
    assertThatThrownBy(() -> Examples.builder().addPair(new int[] {1}, new int[0]))
        .isInstanceOf(DataException.class);
  }
}
