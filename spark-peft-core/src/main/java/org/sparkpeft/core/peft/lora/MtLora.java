package org.sparkpeft.core.peft.lora;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.types.Shape;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.sparkpeft.core.engine.Scalars;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.model.ModelInput;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.nn.Linear;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.BaseWeights;
import org.sparkpeft.core.peft.MethodClass;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.MethodTensors;
import org.sparkpeft.core.peft.Modification;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethod;
import org.sparkpeft.core.peft.TargetModules;
import org.sparkpeft.core.peft.TaskRows;
import org.sparkpeft.core.peft.TensorRole;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * MTLoRA (Agiza et al. 2024, arXiv 2403.20320): factors that all tasks share, {@code A [r, in]} and
 * {@code B [out, r]}, and some of each task t, {@code A_t [r_task, in]} and {@code B_t [out,
 * r_task]}. Where only shared ones are, {@code y = W x + s B A x}. In {@code task_layers}, for an
 * example of task t, {@code y = W x + s_t B_t A_t x} with mode {@code matrix}, and {@code s B A x}
 * more with {@code matrixv2}. Scales are not divided by ranks.
 *
 * <p>The paper computes a stream for each task beside a shared one; here each example has one task,
 * so one stream, whose input is its own at every layer. Federated: a task's factors are averaged
 * over the clients that have the task. Weight decay leaves task factors alone, since an example of
 * another task says nothing about them.
 */
public final class MtLora implements PeftMethod<MtLora.Config> {
  private static final Pattern LAYER = Pattern.compile(".*?\\.[^.]*\\.(\\d+)\\..*");

  /**
   * @param r rank of the shared factors, 1..4096
   * @param rTask rank of a task's factors, likewise
   * @param tasks number of tasks, 1..1000; those of examples count from 0
   * @param mode {@code matrix} or {@code matrixv2}
   * @param sharedScale s, above 0
   * @param taskScale s_t, above 0
   * @param loraDropout probability in [0, 1) of dropping an entry of the branches' input in
   *     training
   * @param taskLayers layer numbers with task factors; empty means the last that is acted on
   * @param targetModules linear layers to act on
   * @param layersToTransform layer numbers to act on; empty means all
   * @param modulesToSave modules trained and saved in full
   */
  public record Config(
      int r,
      int rTask,
      int tasks,
      String mode,
      double sharedScale,
      double taskScale,
      double loraDropout,
      List<Integer> taskLayers,
      TargetModules targetModules,
      List<Integer> layersToTransform,
      List<String> modulesToSave)
      implements PeftConfig {
    public Config {
      taskLayers = List.copyOf(taskLayers);
      layersToTransform = List.copyOf(layersToTransform);
      modulesToSave = List.copyOf(modulesToSave);
      LowRank.check(new Problems(), r, loraDropout, "lora_dropout")
          .require(rTask >= 1 && rTask <= 4096, "r_task", rTask, "the rank must be 1..4096")
          .require(tasks >= 1 && tasks <= 1000, "tasks", tasks, "must be 1..1000")
          .require(
              List.of("matrix", "matrixv2").contains(mode),
              "mode",
              mode,
              "must be matrix or matrixv2")
          .require(
              sharedScale > 0 && Double.isFinite(sharedScale),
              "shared_scale",
              sharedScale,
              "must be above 0; usual is 4")
          .require(
              taskScale > 0 && Double.isFinite(taskScale),
              "task_scale",
              taskScale,
              "must be above 0; usual is 4")
          .throwIfAny();
    }

    @Override
    public String peftType() {
      return "MTLORA";
    }

    @Override
    public OptionalInt taskCount() {
      return OptionalInt.of(tasks);
    }
  }

  @Override
  public String peftType() {
    return "MTLORA";
  }

  @Override
  public Class<Config> configType() {
    return Config.class;
  }

  @Override
  public MethodClass methodClass() {
    return MethodClass.REPARAMETERISED;
  }

  /** Two tasks; factors of each in the last layer. */
  @Override
  public Config defaults() {
    return new Config(
        16,
        4,
        2,
        "matrixv2",
        4,
        4,
        0,
        List.of(),
        TargetModules.of("query", "value"),
        List.of(),
        List.of("classifier"));
  }

  @Override
  public AttachedMethod attach(Config config, ModuleTree modules) {
    List<ModuleSpec> sites =
        LowRank.linears(modules, config.targetModules(), config.layersToTransform());
    Set<Integer> layers =
        config.taskLayers().isEmpty()
            ? Set.of(sites.stream().mapToInt(site -> layer(site.path())).max().orElseThrow())
            : Set.copyOf(config.taskLayers());
    Set<String> byTask =
        sites.stream()
            .map(ModuleSpec::path)
            .filter(path -> layers.contains(layer(path)))
            .collect(Collectors.toSet());
    if (byTask.isEmpty()) {
      throw new ConfigException(
          "task_layers", "no module acted on is in the layers " + config.taskLayers());
    }
    return new Attached(config, sites, byTask);
  }

  private static int layer(String path) {
    Matcher matcher = LAYER.matcher("." + path);
    return matcher.matches() ? Integer.parseInt(matcher.group(1)) : -1;
  }

  /**
   * @param byTask paths of the sites with factors of each task
   */
  private record Attached(Config config, List<ModuleSpec> sites, Set<String> byTask)
      implements AttachedMethod {

    private static String a(ModuleSpec site) {
      return site.path() + ".lora_A.weight";
    }

    private static String b(ModuleSpec site) {
      return site.path() + ".lora_B.weight";
    }

    private static String taskA(ModuleSpec site) {
      return site.path() + ".task_lora_A";
    }

    private static String taskB(ModuleSpec site) {
      return site.path() + ".task_lora_B";
    }

    private boolean hasTasks(ModuleSpec site) {
      return byTask.contains(site.path());
    }

    private boolean hasShared(ModuleSpec site) {
      return !hasTasks(site) || config.mode().equals("matrixv2");
    }

    @Override
    public Map<String, List<Integer>> shapes() {
      Map<String, List<Integer>> shapes = new LinkedHashMap<>();
      for (ModuleSpec site : sites) {
        if (hasShared(site)) {
          shapes.put(a(site), List.of(config.r(), site.in()));
          shapes.put(b(site), List.of(site.out(), config.r()));
        }
        if (hasTasks(site)) {
          shapes.put(taskA(site), List.of(config.tasks(), config.rTask(), site.in()));
          shapes.put(taskB(site), List.of(config.tasks(), site.out(), config.rTask()));
        }
      }
      return shapes;
    }

    @Override
    public TensorRole role(String tensor) {
      return tensor.contains(".task_lora_") ? TensorRole.FACTOR.bySlices() : TensorRole.FACTOR;
    }

    /** A Kaiming-uniform with a = sqrt 5, B zero. */
    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      Map<String, float[]> values = new LinkedHashMap<>();
      shapes()
          .forEach(
              (name, shape) -> {
                int size = shape.stream().reduce(1, Math::multiplyExact);
                int in = shape.get(shape.size() - 1);
                Philox random = Philox.of(seed, "mtlora", Philox.hash(name));
                values.put(
                    name,
                    name.contains("lora_A")
                        ? LowRank.kaiming(random, size, in, Math.sqrt(5))
                        : new float[size]);
              });
      return values;
    }

    @Override
    public List<Modification> modifications(MethodTensors tensors, TuningContext context) {
      NDArray tasks = oneHot(context);
      List<Modification> modifications = new ArrayList<>();
      for (ModuleSpec site : sites) {
        modifications.add(
            Modification.parallel(
                site.path(),
                x -> {
                  NDArray kept = LowRank.dropped(site.path(), x, config.loraDropout(), context);
                  if (!hasTasks(site)) {
                    return shared(site, tensors, kept);
                  }
                  NDArray own = ofTasks(site, tensors, tasks, kept);
                  return hasShared(site) ? own.add(shared(site, tensors, kept)) : own;
                }));
      }
      return modifications;
    }

    /** {@code [batch, tasks]}: 1 at each example's task. */
    private NDArray oneHot(TuningContext context) {
      ModelInput batch = context.batch();
      float[] hot = new float[batch.size() * config.tasks()];
      for (int row = 0; row < batch.size(); row++) {
        int task = TaskRows.task(batch, row, config.tasks(), "tasks");
        hot[row * config.tasks() + task] = 1;
      }
      return context.manager().create(hot, new Shape(batch.size(), config.tasks()));
    }

    private NDArray shared(ModuleSpec site, MethodTensors tensors, NDArray x) {
      NDArray low = Linear.of(x, tensors.parameter(a(site)), null);
      return Linear.of(
          Scalars.times(low, (float) config.sharedScale()), tensors.parameter(b(site)), null);
    }

    /** Each example through the factors of its task. */
    private NDArray ofTasks(ModuleSpec site, MethodTensors tensors, NDArray tasks, NDArray x) {
      NDArray a = chosen(tasks, tensors.parameter(taskA(site))); // [batch, r, in]
      NDArray b = chosen(tasks, tensors.parameter(taskB(site))); // [batch, out, r]
      return TaskRows.lowRank(
          site.path(), x, a.transpose(0, 2, 1), b.transpose(0, 2, 1), (float) config.taskScale());
    }

    /** {@code [tasks, m, n]} to {@code [batch, m, n]}. */
    private static NDArray chosen(NDArray tasks, NDArray stack) {
      Shape shape = stack.getShape();
      NDArray rows = tasks.matMul(stack.reshape(shape.get(0), shape.get(1) * shape.get(2)));
      return rows.reshape(tasks.getShape().get(0), shape.get(1), shape.get(2));
    }

    @Override
    public Optional<String> whyNotFused() {
      return Optional.of("each task has weights of its own");
    }

    @Override
    public Map<String, float[]> fuse(
        ParameterVector parameters, MethodState state, BaseWeights base) {
      throw new IllegalStateException("each task has weights of its own");
    }
  }
}
