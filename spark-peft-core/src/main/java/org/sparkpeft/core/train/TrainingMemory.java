package org.sparkpeft.core.train;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.engine.FlatParameters;
import org.sparkpeft.core.engine.GradientScope;
import org.sparkpeft.core.model.TokenExamples;
import org.sparkpeft.core.peft.Probes;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * What {@link LocalTrainer} holds in memory while it trains one client, beside the base model, in
 * bytes. What a method's observer keeps (scores, masks) is not part of it.
 *
 * @param values the trained values in Java and in the engine's buffer, and with a proximal term
 *     where they started
 * @param gradients the sum over an update's batches, and the engine's of one batch
 * @param moments what the optimiser remembers
 */
public record TrainingMemory(long values, long gradients, long moments) {
  /** A second of sound for a model that reads samples. */
  private static final int SAMPLES = 16_000;

  /**
   * Exact, since these are flat arrays.
   *
   * @param layout what is trained
   * @param proximal whether training is held near its start (FedProx)
   */
  public static TrainingMemory of(TrainConfig config, ParameterLayout layout, boolean proximal) {
    long floats = (long) layout.size() * Float.BYTES;
    return new TrainingMemory(
        floats * (proximal ? 3 : 2), floats * 2, Optimizer.bytes(config, layout));
  }

  public long total() {
    return values + gradients + moments;
  }

  /**
   * What one batch of texts of full length, or of recordings of a second, keeps until its step is
   * over, which is when the backward pass is done: the sum of all arrays that a real forward pass
   * makes, which is linear in the batch and so counted on one text and on two. Views count as what
   * they are views of, and what the engine keeps inside an operation is not seen: on a six-layer
   * MiniLM with batches of 32 x 64 the process grows by 387 MB where this says 393. The backward
   * pass takes about a quarter more for a moment.
   *
   * @param batch examples in a batch; the objectives of pairs take two for each
   */
  public static long activations(TunableModel model, int batch) {
    Objective objective = model.task().kind().objective(model.task());
    long one = kept(model, objective, 1);
    long two = kept(model, objective, 2);
    return one + (batch - 1) * (two - one);
  }

  private static long kept(TunableModel model, Objective objective, int size) {
    ComputeDevice device = model.device();
    device.bindThread();
    TunableModel started = model.started(0);
    ParameterVector values = started.initialParameters(0);
    int[] indices = IntStream.range(0, size).toArray();
    ExampleBatch batch =
        ExampleBatch.of(blank(model, size), indices, objective.pairs(), model.padId());
    FlatParameters flat = new FlatParameters(model.layout());
    flat.set(values.toArray());
    try (NDManager manager = device.newManager();
        NDManager step = manager.newSubManager();
        GradientScope scope = GradientScope.open()) {
      BatchForward forward =
          objective
              .judged(() -> started.forward(manager, started.below()))
              .apply(started.forward(manager));
      NDArray leaf = flat.leaf(step, true);
      TuningContext context =
          new TuningContext(
              step, true, Philox.of(0, "memory"), batch.input(), Probes.none(), new ArrayList<>());
      Map<String, NDArray> views = flat.views(leaf);
      long before = bytes(step.getManagedArrays()); // values, not activations
      forward.outputs(step, views, batch, context);
      return bytes(step.getManagedArrays()) - before;
    }
  }

  private static long bytes(List<NDArray> arrays) {
    return arrays.stream().mapToLong(a -> a.size() * a.getDataType().getNumOfBytes()).sum();
  }

  private static TokenExamples blank(TunableModel model, int size) {
    return switch (model.input().kind()) {
      case TOKENS -> new Blank(size, model.task().maxLength(), List.of());
      case IMAGE, FRAMES -> new Blank(size, 0, model.input().shape());
      case SAMPLES -> new Blank(size, 0, List.of(SAMPLES));
    };
  }

  /** Texts of one token, again and again, black images, or silence. */
  private record Blank(int size, int length, List<Integer> form) implements TokenExamples {
    @Override
    public float[] input(int index) {
      return new float[form.stream().reduce(1, Math::multiplyExact)];
    }

    @Override
    public int[] shape(int index) {
      return form.stream().mapToInt(Integer::intValue).toArray();
    }

    @Override
    public int[] tokens(int index) {
      return new int[length];
    }

    @Override
    public int[] pair(int index) {
      return new int[length];
    }

    @Override
    public int[] classes(int index) {
      return new int[] {0};
    }

    @Override
    public float[] values(int index) {
      return new float[0];
    }
  }
}
