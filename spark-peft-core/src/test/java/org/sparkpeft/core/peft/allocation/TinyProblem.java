package org.sparkpeft.core.peft.allocation;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.engine.FlatParameters;
import org.sparkpeft.core.engine.GradientScope;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.model.TokenBatch;
import org.sparkpeft.core.model.Tuning;
import org.sparkpeft.core.nn.Linear;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.BaseWeights;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.MethodTensors;
import org.sparkpeft.core.peft.ModifiedForward;
import org.sparkpeft.core.peft.Probes;
import org.sparkpeft.core.peft.StepObserver;
import org.sparkpeft.core.peft.TrainingSpan;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * Independent linear layers, each to learn {@code W + D} from examples of it: where D is large, the
 * layer is important. Trained with Adam, as a client is.
 */
final class TinyProblem {
  private static final int EXAMPLES = 32;

  private final Map<String, float[]> base = new LinkedHashMap<>();
  private final Map<String, float[]> wanted = new LinkedHashMap<>();
  private final List<ModuleSpec> modules = new ArrayList<>();
  private final long seed;

  TinyProblem(long seed) {
    this.seed = seed;
  }

  /** A layer whose weight must change by normal numbers of that deviation. */
  TinyProblem layer(String path, int in, int out, double deviation) {
    Philox random = Philox.of(seed, "tiny", Philox.hash(path));
    modules.add(ModuleSpec.linear(path, in, out));
    float[] weight = random.child(0).gaussian(in * out, 0.3);
    float[] change = random.child(1).gaussian(in * out, deviation);
    float[] goal = weight.clone();
    for (int i = 0; i < goal.length; i++) {
      goal[i] += change[i];
    }
    base.put(path + ".weight", weight);
    base.put(path + ".bias", random.child(2).gaussian(out, 0.3));
    wanted.put(path, goal);
    return this;
  }

  ModuleTree tree() {
    return new ModuleTree(modules);
  }

  BaseWeights weights() {
    return name -> {
      float[] values = base.get(name);
      if (values == null) {
        throw new IllegalArgumentException("no tensor named " + name);
      }
      return values.clone();
    };
  }

  /** Numbers that are there. */
  static float[] named(Map<String, float[]> numbers, String name) {
    return Objects.requireNonNull(numbers.get(name), name);
  }

  /** What training gave. */
  record Trained(
      ParameterVector parameters,
      MethodState state,
      Map<String, float[]> report,
      List<Double> losses) {}

  ParameterVector start(AttachedMethod method, MethodState state) {
    ParameterLayout layout = ParameterLayout.of(method.shapes());
    Map<String, float[]> values = method.initialValues(seed, state, weights());
    float[] flat = new float[layout.size()];
    for (ParameterLayout.Entry entry : layout.entries()) {
      System.arraycopy(values.get(entry.name()), 0, flat, entry.offset(), entry.size());
    }
    return ParameterVector.wrap(layout, flat);
  }

  /**
   * Trains as a client does.
   *
   * @param firstBatch number that the first update's examples are drawn from; one more each update
   */
  Trained train(
      AttachedMethod method,
      MethodState state,
      ParameterVector start,
      TrainingSpan span,
      double rate,
      long firstBatch) {
    StepObserver observer = method.observer(state, span, start.layout());
    float[] parameters = start.toArray();
    Adam adam = new Adam(parameters.length);
    List<Double> losses = new ArrayList<>();
    FlatParameters flat = new FlatParameters(start.layout());
    try (NDManager manager = ComputeDevice.cpu().newManager()) {
      Map<String, NDArray> frozen = MethodTensors.load(manager, state);
      for (int update = 0; update < span.updates(); update++) {
        int now = update;
        float[] gradient = new float[parameters.length];
        Map<String, float[]> sums = new TreeMap<>();
        flat.set(parameters);
        losses.add(
            gradient(
                method,
                flat,
                frozen,
                manager,
                Probes.of(name -> observer.wants(name, now)),
                firstBatch + update,
                gradient,
                sums));
        StepObserver.Update seen =
            new StepObserver.Update(update, start.layout(), parameters, gradient, sums, rate, adam);
        observer.beforeStep(seen);
        adam.step(parameters, gradient, rate);
        var changed = observer.afterStep(seen);
        if (changed.isPresent()) {
          state = changed.get();
          frozen = MethodTensors.load(manager, state);
        }
      }
    }
    return new Trained(
        ParameterVector.of(start.layout(), parameters), state, observer.report(), losses);
  }

  private double gradient(
      AttachedMethod method,
      FlatParameters flat,
      Map<String, NDArray> frozen,
      NDManager manager,
      Probes probes,
      long batch,
      float[] gradient,
      Map<String, float[]> sums) {
    try (NDManager step = manager.newSubManager();
        GradientScope scope = GradientScope.open()) {
      Map<String, NDArray> leaves = flat.leaves(step);
      List<NDArray> terms = new ArrayList<>();
      TokenBatch tokens = TokenBatch.of(List.of(new int[] {1}), 0);
      TuningContext context =
          new TuningContext(step, true, Philox.of(seed, "step", batch), tokens, probes, terms);
      Tuning tuning =
          ModifiedForward.of(method.modifications(new MethodTensors(leaves, frozen), context));
      NDArray loss = step.zeros(new Shape());
      for (ModuleSpec module : modules) {
        NDArray error = error(step, module, tuning, batch);
        loss = loss.add(error);
      }
      for (NDArray term : terms) {
        loss = loss.add(term);
      }
      scope.backward(loss);
      flat.addGradients(leaves, 1, gradient);
      probes.addGradients(1, sums);
      return loss.getFloat();
    }
  }

  private NDArray error(NDManager step, ModuleSpec module, Tuning tuning, long batch) {
    String path = module.path();
    Shape shape = new Shape(module.out(), module.in());
    NDArray bias = step.create(base.get(path + ".bias"));
    Philox random = Philox.of(seed, "inputs", batch, Philox.hash(path));
    NDArray x =
        step.create(
            random.gaussian(EXAMPLES * module.in(), 1), new Shape(EXAMPLES, 1, module.in()));
    Linear layer = new Linear(path, step.create(base.get(path + ".weight"), shape), bias);
    NDArray goal = Linear.of(x, step.create(wanted.get(path), shape), bias);
    return tuning.linear(layer, x).sub(goal).square().mean();
  }

  /** The layers' outputs for fixed inputs, one after the other. */
  float[] outputs(AttachedMethod method, MethodState state, ParameterVector parameters) {
    List<float[]> all = new ArrayList<>();
    FlatParameters flat = new FlatParameters(parameters.layout());
    flat.set(parameters.toArray());
    try (NDManager manager = ComputeDevice.cpu().newManager();
        NDManager step = manager.newSubManager()) {
      TokenBatch tokens = TokenBatch.of(List.of(new int[] {1}), 0);
      Map<String, NDArray> views = new HashMap<>(flat.views(flat.leaf(step, false)));
      Tuning tuning =
          ModifiedForward.of(
              method.modifications(
                  new MethodTensors(views, MethodTensors.load(manager, state)),
                  TuningContext.inference(step, tokens)));
      for (ModuleSpec module : modules) {
        all.add(output(step, module, base, tuning));
      }
    }
    return joined(all);
  }

  /** The same of the plain layers, some of whose tensors are replaced. */
  float[] plainOutputs(Map<String, float[]> replaced) {
    Map<String, float[]> tensors = new HashMap<>(base);
    tensors.putAll(replaced);
    List<float[]> all = new ArrayList<>();
    try (NDManager step = ComputeDevice.cpu().newManager()) {
      for (ModuleSpec module : modules) {
        all.add(output(step, module, tensors, Tuning.NONE));
      }
    }
    return joined(all);
  }

  private float[] output(
      NDManager step, ModuleSpec module, Map<String, float[]> tensors, Tuning tuning) {
    String path = module.path();
    Shape shape = new Shape(module.out(), module.in());
    NDArray weight = step.create(tensors.get(path + ".weight"), shape);
    NDArray bias = step.create(tensors.get(path + ".bias"));
    Philox random = Philox.of(seed, "fixed", Philox.hash(path));
    NDArray x = step.create(random.gaussian(4 * module.in(), 1), new Shape(2, 2, module.in()));
    return tuning.linear(new Linear(path, weight, bias), x).toFloatArray();
  }

  private static float[] joined(List<float[]> parts) {
    float[] all = new float[parts.stream().mapToInt(part -> part.length).sum()];
    int next = 0;
    for (float[] part : parts) {
      System.arraycopy(part, 0, all, next, part.length);
      next += part.length;
    }
    return all;
  }

  static double distance(float[] a, float[] b) {
    double worst = a.length == b.length ? 0 : Double.POSITIVE_INFINITY;
    for (int i = 0; i < Math.min(a.length, b.length); i++) {
      worst = Math.max(worst, Math.abs((double) a[i] - b[i]));
    }
    return worst;
  }

  /** Adam without decay, restarted entry by entry. */
  private static final class Adam implements StepObserver.OptimizerMoments {
    private final double[] first;
    private final double[] second;
    private final int[] age;

    Adam(int size) {
      first = new double[size];
      second = new double[size];
      age = new int[size];
    }

    void step(float[] parameters, float[] gradient, double rate) {
      for (int i = 0; i < parameters.length; i++) {
        age[i]++;
        first[i] = 0.9 * first[i] + 0.1 * gradient[i];
        second[i] = 0.999 * second[i] + 0.001 * gradient[i] * gradient[i];
        double mean = first[i] / (1 - Math.pow(0.9, age[i]));
        double root = Math.sqrt(second[i] / (1 - Math.pow(0.999, age[i]))) + 1e-8;
        parameters[i] = (float) (parameters[i] - rate * mean / root);
      }
    }

    @Override
    public void restart(int index, double firstMoment, double secondMoment, int newAge) {
      first[index] = firstMoment;
      second[index] = secondMoment;
      age[index] = newAge;
    }
  }
}
