package org.sparkpeft.merge.spark;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.LongConsumer;
import org.apache.spark.SparkEnv;
import org.apache.spark.api.java.JavaFutureAction;
import org.apache.spark.api.java.JavaSparkContext;
import org.apache.spark.util.LongAccumulator;
import org.slf4j.LoggerFactory;
import scala.reflect.ClassTag;

/** Who does the work of a merge. The results do not depend on it. */
public interface Workers {
  /** How many pieces of work go on at once. */
  int parallelism();

  /**
   * Applies {@code work} to every input and gives the results in order.
   *
   * @param progress gets the sum of what was reported so far, now and then, on this thread
   */
  <T, R> List<R> run(List<T> inputs, Work<T, R> work, LongConsumer progress);

  /** Threads of this process. */
  static Workers threads(int count) {
    if (count < 1) {
      throw new IllegalArgumentException("at least one thread is needed, got " + count);
    }
    return new Threads(count);
  }

  /** Tasks of a Spark application. Executors must see the files under the same paths. */
  static Workers spark(JavaSparkContext context) {
    return new Spark(context);
  }

  /** See {@link #threads}. */
  final class Threads implements Workers {
    private static final int POLL_MILLIS = 100;
    private static final int STOP_SECONDS = 60;
    private final int count;

    private Threads(int count) {
      this.count = count;
    }

    @Override
    public int parallelism() {
      return count;
    }

    @Override
    public <T, R> List<R> run(List<T> inputs, Work<T, R> work, LongConsumer progress) {
      ExecutorService pool = Executors.newFixedThreadPool(count);
      AtomicLong sum = new AtomicLong();
      try {
        List<Future<R>> futures = new ArrayList<>();
        for (T input : inputs) {
          futures.add(pool.submit(() -> work.apply(input, sum::addAndGet)));
        }
        List<R> results = new ArrayList<>();
        for (Future<R> future : futures) {
          results.add(await(future, sum, progress));
        }
        progress.accept(sum.get());
        return results;
      } catch (ExecutionException e) {
        if (e.getCause() instanceof RuntimeException cause) {
          throw cause;
        }
        throw new IllegalStateException(
            "a part of the merge failed: " + e.getCause(), e.getCause());
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        throw new IllegalStateException("interrupted while merging", e);
      } finally {
        stop(pool);
      }
    }

    /** After a failure the others are interrupted; none may go on writing when this returns. */
    private static void stop(ExecutorService pool) {
      pool.shutdownNow();
      try {
        if (!pool.awaitTermination(STOP_SECONDS, TimeUnit.SECONDS)) {
          LoggerFactory.getLogger(Threads.class)
              .warn("a thread of the merge still works {} s after a failure", STOP_SECONDS);
        }
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
      }
    }

    private static <R> R await(Future<R> future, AtomicLong sum, LongConsumer progress)
        throws ExecutionException, InterruptedException {
      while (true) {
        try {
          return future.get(POLL_MILLIS, TimeUnit.MILLISECONDS);
        } catch (TimeoutException e) {
          progress.accept(sum.get());
        }
      }
    }
  }

  /** See {@link #spark}. */
  final class Spark implements Workers {
    private static final int POLL_MILLIS = 200;
    private final JavaSparkContext context;

    private Spark(JavaSparkContext context) {
      this.context = context;
    }

    @Override
    public int parallelism() {
      return Math.max(1, context.defaultParallelism());
    }

    @Override
    public <T, R> List<R> run(List<T> inputs, Work<T, R> work, LongConsumer progress) {
      if (inputs.isEmpty()) {
        return List.of();
      }
      LongAccumulator sum = context.sc().longAccumulator("merged bytes");
      // As bytes: Kryo, which applications may choose for what they exchange, refuses records.
      List<byte[]> sent = new ArrayList<>();
      inputs.forEach(input -> sent.add(bytes(input)));
      JavaFutureAction<List<byte[]>> action =
          context
              .parallelize(sent, sent.size())
              .map(input -> bytes(work.apply(Spark.<T>object(input), sum::add)))
              .collectAsync();
      try {
        while (true) {
          try {
            List<byte[]> received = action.get(POLL_MILLIS, TimeUnit.MILLISECONDS);
            progress.accept(sum.value());
            List<R> results = new ArrayList<>();
            received.forEach(bytes -> results.add(Spark.<R>object(bytes)));
            return results;
          } catch (TimeoutException e) {
            progress.accept(sum.value());
          }
        }
      } catch (ExecutionException e) {
        throw new IllegalStateException("a part of the merge failed: " + e.getMessage(), e);
      } catch (InterruptedException e) {
        action.cancel(true);
        Thread.currentThread().interrupt();
        throw new IllegalStateException("interrupted while merging", e);
      }
    }

    /** By Java serialisation, as Spark sends its own code. */
    private static byte[] bytes(Object object) {
      ByteBuffer buffer =
          SparkEnv.get().closureSerializer().newInstance().serialize(object, ClassTag.Object());
      byte[] bytes = new byte[buffer.remaining()];
      buffer.get(bytes);
      return bytes;
    }

    @SuppressWarnings("unchecked") // What was sent under this type.
    private static <T> T object(byte[] bytes) {
      return (T)
          SparkEnv.get()
              .closureSerializer()
              .newInstance()
              .deserialize(
                  ByteBuffer.wrap(bytes),
                  Thread.currentThread().getContextClassLoader(),
                  ClassTag.Object());
    }
  }
}
