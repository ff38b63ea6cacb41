package org.sparkpeft.core.engine;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Future;
import java.util.concurrent.SynchronousQueue;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Supplier;

/**
 * The cores of one task, each on a part of its work. A part has one math thread, so its bits are
 * the same on every run, and nobody waits for the others between two operations, as the engine's
 * own threads do.
 */
public final class Cores {
  /** Seconds after which a helper that has nothing to do ends. */
  private static final long PATIENCE = 10;

  private static final AtomicInteger NUMBER = new AtomicInteger();

  /** Grows with the tasks of this JVM; a part never waits for a thread. */
  private static final ExecutorService HELPERS =
      new ThreadPoolExecutor(
          0,
          Integer.MAX_VALUE,
          PATIENCE,
          TimeUnit.SECONDS,
          new SynchronousQueue<>(),
          work -> {
            Thread thread = new Thread(work, "spark-peft-core-" + NUMBER.incrementAndGet());
            thread.setDaemon(true);
            return thread;
          });

  private Cores() {}

  /**
   * Computes parts side by side, the first on the calling thread, and waits for all of them, also
   * where one fails or the thread is interrupted. A single part has all of the device's math
   * threads.
   *
   * @param device where the parts compute; prepares the threads, and leaves the calling one with
   *     the math threads of its part
   * @return the results in the parts' order
   * @throws RuntimeException what the first of the parts that failed threw
   */
  public static <T> List<T> run(ComputeDevice device, List<Supplier<T>> parts) {
    if (parts.size() == 1) {
      device.bindThread();
      return List.of(parts.get(0).get());
    }
    ComputeDevice one = new ComputeDevice(device.address(), 1);
    List<Future<T>> helped = new ArrayList<>();
    for (Supplier<T> part : parts.subList(1, parts.size())) {
      helped.add(
          HELPERS.submit(
              () -> {
                one.bindThread();
                return part.get();
              }));
    }
    List<T> results = new ArrayList<>();
    Throwable failure = null;
    try {
      one.bindThread();
      results.add(parts.get(0).get());
    } catch (RuntimeException | Error e) {
      failure = e;
    }
    boolean interrupted = false;
    for (Future<T> other : helped) {
      while (true) {
        try {
          results.add(other.get());
        } catch (InterruptedException e) {
          interrupted = true;
          continue;
        } catch (ExecutionException e) {
          failure = failure == null ? e.getCause() : failure;
        }
        break;
      }
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
    if (failure instanceof Error error) {
      throw error;
    }
    if (failure != null) {
      throw (RuntimeException) failure;
    }
    return results;
  }
}
