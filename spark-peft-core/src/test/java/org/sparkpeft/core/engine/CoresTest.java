package org.sparkpeft.core.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import ai.djl.pytorch.jni.JniUtils;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Supplier;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class CoresTest {
  private static final ComputeDevice FOUR = new ComputeDevice("cpu", 4);

  @Test
  void partsRunAtTheSameTimeOneMathThreadEach() {
    CountDownLatch all = new CountDownLatch(4);
    List<Supplier<String>> parts = new ArrayList<>();
    for (int i = 0; i < 4; i++) {
      int part = i;
      parts.add(
          () -> {
            all.countDown();
            await(all);
            return part + " with " + JniUtils.getNumThreads();
          });
    }
    assertThat(Cores.run(FOUR, parts))
        .containsExactly("0 with 1", "1 with 1", "2 with 1", "3 with 1");
  }

  @Test
  void onePartHasAllMathThreads() {
    assertThat(Cores.run(FOUR, List.<Supplier<Integer>>of(JniUtils::getNumThreads)))
        .containsExactly(4);
  }

  @Test
  void aFailureWaitsForTheOthersAndTheFirstPartsIsThrown() {
    AtomicInteger ended = new AtomicInteger();
    CountDownLatch failed = new CountDownLatch(2);
    Supplier<Integer> slow =
        () -> {
          await(failed);
          return ended.incrementAndGet();
        };
    List<Supplier<Integer>> parts =
        List.of(slow, failing("second", failed), slow, failing("fourth", failed));
    assertThatThrownBy(() -> Cores.run(FOUR, parts)).hasMessage("second");
    assertThat(ended).hasValue(2);
  }

  @Test
  void anInterruptedThreadWaitsAndStaysInterrupted() {
    AtomicInteger ended = new AtomicInteger();
    Thread.currentThread().interrupt();
    Cores.run(
        FOUR, List.<Supplier<Integer>>of(ended::incrementAndGet, CoresTest::nap, CoresTest::nap));
    assertThat(Thread.interrupted()).isTrue();
    assertThat(ended).hasValue(1);
  }

  private static Integer nap() {
    await(new CountDownLatch(1), 50);
    return 0;
  }

  private static Supplier<Integer> failing(String message, CountDownLatch failed) {
    return () -> {
      failed.countDown();
      throw new IllegalStateException(message);
    };
  }

  private static void await(CountDownLatch latch) {
    assertThat(await(latch, 30_000)).isTrue();
  }

  private static boolean await(CountDownLatch latch, long millis) {
    try {
      return latch.await(millis, TimeUnit.MILLISECONDS);
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }
}
