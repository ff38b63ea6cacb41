package org.sparkpeft.core.train;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import java.util.stream.IntStream;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.engine.FlatParameters;
import org.sparkpeft.core.engine.GradientScope;
import org.sparkpeft.core.engine.NativeMemory;
import org.sparkpeft.core.model.TokenExamples;
import org.sparkpeft.core.peft.Probes;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterLayout;

/**
 * What {@link LocalTrainer} holds in memory while it trains one client, beside the base model, in
 * bytes. What a method's observer keeps (scores, masks) is not part of it.
 *
 * @param values the trained values in Java and in the engine's buffer, and with a proximal term
 *     where they started
 * @param gradients the sum over an update's batches, and the engine's of one batch; with several
 *     cores each has the engine's and a sum of its own
 * @param moments what the optimiser remembers
 */
public record TrainingMemory(long values, long gradients, long moments) {
  /** Tokens of a pass that is measured, or those of one text. */
  private static final int TOKENS = 128;

  /** Bytes beside which it does not matter what other threads, such as the compiler's, take. */
  private static final double CLEAR = 1 << 24;

  /** Passes that are measured, unless two agree before. */
  private static final int PASSES = 7;

  /** A second of sound for a model that reads samples. */
  private static final int SAMPLES = 16_000;

  /**
   * Exact, since these are flat arrays.
   *
   * @param layout what is trained
   * @param proximal whether training is held near its start (FedProx)
   */
  public static TrainingMemory of(TrainConfig config, ParameterLayout layout, boolean proximal) {
    return of(config, layout, proximal, 1);
  }

  /** The same where several cores share a batch. */
  public static TrainingMemory of(
      TrainConfig config, ParameterLayout layout, boolean proximal, int cores) {
    long floats = (long) layout.size() * Float.BYTES;
    return new TrainingMemory(
        floats * (proximal ? 3 : 2),
        floats * (cores == 1 ? 2 : 1 + 2L * cores),
        Optimizer.bytes(config, layout));
  }

  public long total() {
    return values + gradients + moments;
  }

  /**
   * What one batch of texts of full length, or of recordings of a second, keeps for its backward
   * pass beside the above: by how much the C library's memory grows in the forward pass of a few
   * examples and of twice as many, which is linear from there on. Other threads' memory is counted
   * too, so it is what two passes agree on; the last per cents differ from call to call. The
   * backward pass takes some more for a moment: about two layers' part.
   *
   * <p>Where layers keep their inputs alone, that and a layer's part of what there would be
   * without. A language model's scores of all words are counted as far as they are in memory at
   * once.
   *
   * @param batch examples in a batch; the objectives of pairs take two for each
   * @return bytes; empty where the C library does not tell or the model is on a GPU
   */
  public static OptionalLong activations(TunableModel model, int batch, boolean checkpointing) {
    if (NativeMemory.bytesInUse().isEmpty() || !model.device().address().equals("cpu")) {
      return OptionalLong.empty();
    }
    long all = linear(model, batch, false);
    long kept = checkpointing ? linear(model, batch, true) + all / model.config().layers() : all;
    return OptionalLong.of(kept + scores(model, batch));
  }

  /**
   * What a batch keeps, from so few examples as keep enough to stand out against other threads'
   * memory; the whole batch where it is no more than that.
   */
  private static long linear(TunableModel model, int batch, boolean checkpointing) {
    int few = Math.max(1, TOKENS / Math.max(1, model.task().maxLength()));
    double once = kept(model, Math.min(few, batch), checkpointing);
    while (once < CLEAR && 2 * few < batch) {
      few *= 2;
      once = kept(model, few, checkpointing);
    }
    if (few >= batch) {
      return Math.round(once);
    }
    double twice = kept(model, 2 * few, checkpointing);
    return Math.max(0, Math.round(once + (batch - few) * (twice - once) / few));
  }

  /**
   * Scores of words, which {@link LanguageObjective} has in pieces; others judge what they keep.
   */
  private static long scores(TunableModel model, int batch) {
    if (!model.task().kind().isLanguage() || model.task().isPreference()) {
      return 0;
    }
    long tokens = (long) batch * (model.task().maxLength() + model.method().virtualTokens());
    long scores = Math.min(LanguageObjective.MAX_SCORES, tokens * model.config().vocabulary());
    return 4 * scores * Float.BYTES; // with their logarithms and the gradients of both
  }

  /**
   * The growth that two passes agree on, since passes differ by what other threads do meanwhile;
   * else the median.
   */
  private static long kept(TunableModel model, int size, boolean checkpointing) {
    long[] growths = new long[PASSES];
    for (int pass = 0; pass < PASSES; pass++) {
      long growth = growth(model, size, checkpointing);
      for (int before = 0; before < pass; before++) {
        if (Math.abs(growth - growths[before]) <= 0.002 * growth) {
          return growth;
        }
      }
      growths[pass] = growth;
    }
    Arrays.sort(growths);
    return growths[PASSES / 2];
  }

  private static long growth(TunableModel model, int size, boolean checkpointing) {
    Objective objective = model.task().kind().objective(model.task());
    ComputeDevice device = model.device();
    device.bindThread();
    TunableModel started = model.started(0);
    int[] indices = IntStream.range(0, size).toArray();
    ExampleBatch batch = started.batch(blank(model, size), indices, objective.pairs());
    FlatParameters flat = new FlatParameters(model.layout());
    flat.set(started.initialParameters(0).toArray());
    try (NDManager manager = device.newManager();
        NDManager step = manager.newSubManager();
        GradientScope scope = GradientScope.open(started.keeps(checkpointing))) {
      BatchForward forward =
          objective
              .judged(() -> started.forward(manager, started.below()))
              .apply(started.forward(manager));
      TuningContext context =
          new TuningContext(
              step, true, Philox.of(0, "memory"), batch.input(), Probes.none(), new ArrayList<>());
      Map<String, NDArray> leaves = flat.leaves(step);
      long before = NativeMemory.bytesInUse().orElseThrow();
      Outputs outputs = forward.outputs(step, leaves, batch, context);
      if (outputs.words() == 0) {
        outputs.all();
      }
      return NativeMemory.bytesInUse().orElseThrow() - before;
    }
  }

  private static TokenExamples blank(TunableModel model, int size) {
    return switch (model.input().kind()) {
      case TOKENS -> {
        int length = model.task().maxLength();
        boolean targets = model.task().kind().isPerToken() && !model.task().isPreference();
        yield new Blank(size, length, List.of(), targets ? length : 0);
      }
      case IMAGE, FRAMES -> new Blank(size, 0, model.input().shape(), 0);
      case SAMPLES -> new Blank(size, 0, List.of(SAMPLES), 0);
    };
  }

  /**
   * Texts of one token, again and again, black images, or silence; targets as long as the texts.
   */
  private record Blank(int size, int length, List<Integer> form, int targets)
      implements TokenExamples {
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
      return new int[Math.max(1, targets)];
    }

    @Override
    public float[] values(int index) {
      return new float[0];
    }
  }
}
