package org.sparkpeft.core.peft.sparse;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import java.lang.management.ManagementFactory;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.engine.GradientScope;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.model.TokenBatch;
import org.sparkpeft.core.model.Tuning;
import org.sparkpeft.core.nn.Linear;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.LoraConfig;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.MethodTensors;
import org.sparkpeft.core.peft.ModifiedForward;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethods;
import org.sparkpeft.core.peft.TargetModules;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;

/**
 * Prints what one layer's forward and backward pass costs under LoRA of rank 8 and under a sparse
 * delta of as many numbers, in processor time of the calling thread: {@code main}, not a test.
 */
final class SparseTiming {
  private static final int REPEATS = 40;

  private SparseTiming() {}

  public static void main(String[] arguments) {
    for (int tokens : new int[] {128, 512}) {
      for (int[] size : new int[][] {{384, 384}, {384, 1536}, {1536, 384}}) {
        int in = size[0];
        int out = size[1];
        TargetModules target = TargetModules.of("a");
        PeftConfig lora =
            new LoraConfig(
                8, 16, 0, target, List.of(), false, "false", Map.of(), Map.of(), List.of(),
                List.of());
        PeftConfig sparse =
            new SpielAg.Config(
                target,
                List.of(),
                List.of(),
                8 * (in + out),
                0.01,
                20,
                5,
                0.2,
                "linear",
                List.of());
        double reference = millis(lora, in, out, tokens);
        double own = millis(sparse, in, out, tokens);
        System.out.printf(
            Locale.ROOT,
            "%d tokens, %d x %d: LoRA %.2f ms, sparse %.2f ms, ratio %.2f%n",
            tokens,
            out,
            in,
            reference,
            own,
            own / reference);
      }
    }
  }

  private static double millis(PeftConfig config, int in, int out, int tokens) {
    ModuleTree modules = new ModuleTree(List.of(ModuleSpec.linear("a", in, out)));
    AttachedMethod method = PeftMethods.attach(config, modules);
    float[] w = Philox.of(1, "w").gaussian(in * out, 0.05);
    MethodState state = method.initialState(1, n -> w);
    Map<String, float[]> values = method.initialValues(1, state, n -> w);
    double best = Double.MAX_VALUE;
    try (NDManager manager = ComputeDevice.cpu().newManager()) {
      NDArray weight = manager.create(w, new Shape(out, in));
      Map<String, NDArray> frozen = MethodTensors.load(manager, state);
      float[] inputs = Philox.of(2, "x").gaussian(tokens * in, 1);
      for (int i = 0; i < REPEATS; i++) {
        long before = ManagementFactory.getThreadMXBean().getCurrentThreadCpuTime();
        try (NDManager step = manager.newSubManager();
            GradientScope scope = GradientScope.open()) {
          Map<String, NDArray> views = new TreeMap<>();
          method
              .shapes()
              .forEach(
                  (name, shape) -> {
                    long[] longs = shape.stream().mapToLong(Integer::longValue).toArray();
                    NDArray leaf = step.create(values.getOrDefault(name, w), new Shape(longs));
                    leaf.setRequiresGradient(true);
                    views.put(name, leaf);
                  });
          TokenBatch batch = TokenBatch.of(List.of(new int[] {1}), 0);
          Tuning tuning =
              ModifiedForward.of(
                  method.modifications(
                      new MethodTensors(views, frozen), TuningContext.inference(step, batch)));
          NDArray x = step.create(inputs, new Shape(tokens, in));
          x.setRequiresGradient(true);
          scope.backward(tuning.linear(new Linear("a", weight, null), x).square().sum());
        }
        long after = ManagementFactory.getThreadMXBean().getCurrentThreadCpuTime();
        best = Math.min(best, (after - before) / 1e6);
      }
    }
    return best;
  }
}
