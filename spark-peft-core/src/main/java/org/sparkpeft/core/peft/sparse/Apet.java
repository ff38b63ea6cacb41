package org.sparkpeft.core.peft.sparse;

import ai.djl.ndarray.NDArray;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import org.sparkpeft.core.engine.Scalars;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.model.LayerPaths;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.nn.Activation;
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
import org.sparkpeft.core.peft.TargetSelection;
import org.sparkpeft.core.peft.TensorRole;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * Arbitrary parameter-efficient tuning (Su et al. 2023, arXiv 2306.02320): a random set of tunable
 * tensors of about a given size, half of it LoRA pairs and adapters, half tensors of the base. Used
 * to see how much placement matters, which is less the larger the model.
 *
 * <p>Candidates are LoRA, {@code (alpha / r) B A x} with {@code A [r, in]}, {@code B [out, r]}, on
 * the target modules; adapters {@code h + U relu(D h + d) + u} with {@code D [m, h]}, {@code U [h,
 * m]} after each attention and feed-forward block; and every tensor of the encoder, as a difference
 * {@code W + D}. Both lists are shuffled by a stream of seed {@code budget * apet_seed}. A pair or
 * adapter is taken if its first tensor fits what is left of its half, which may end slightly below
 * zero; a tensor of the base if it fits whole. Only what is taken exists in the file.
 *
 * <p>The choice follows from the configuration, so all clients agree. An adapter cannot be folded
 * into the base.
 */
public final class Apet implements PeftMethod<Apet.Config> {

  /**
   * @param targetModules linear layers that may get LoRA
   * @param budget numbers to train, about
   * @param apetSeed decides the choice together with the budget
   * @param r rank of LoRA, 1..512
   * @param loraAlpha numerator of LoRA's scaling, above 0
   * @param adapterSize width m of adapters, 1..4096
   * @param modulesToSave modules trained in full
   */
  public record Config(
      TargetModules targetModules,
      int budget,
      long apetSeed,
      int r,
      double loraAlpha,
      int adapterSize,
      List<String> modulesToSave)
      implements PeftConfig {
    public Config {
      modulesToSave = List.copyOf(modulesToSave);
      new Problems()
          .require(budget >= 2, "budget", budget, "must be at least 2 numbers; try 300000")
          .require(r >= 1 && r <= 512, "r", r, "must be 1..512; set it to 8 or 16")
          .require(
              loraAlpha > 0 && Double.isFinite(loraAlpha),
              "lora_alpha",
              loraAlpha,
              "must be above 0; usual is r or 2 r")
          .require(
              adapterSize >= 1 && adapterSize <= 4096,
              "adapter_size",
              adapterSize,
              "must be 1..4096; 64 is usual")
          .throwIfAny();
    }

    @Override
    public String peftType() {
      return "APET";
    }
  }

  @Override
  public String peftType() {
    return "APET";
  }

  @Override
  public Class<Config> configType() {
    return Config.class;
  }

  @Override
  public MethodClass methodClass() {
    return MethodClass.HYBRID;
  }

  /** As many numbers as LoRA of rank 8 on query and value of BERT base. */
  @Override
  public Config defaults() {
    return new Config(
        new TargetModules(List.of(), TargetModules.ALL_LINEAR),
        294_912,
        1,
        8,
        8,
        64,
        List.of("classifier"));
  }

  @Override
  public AttachedMethod attach(Config config, ModuleTree modules) {
    List<Group> groups = new ArrayList<>();
    ModuleTree body = modules.without(modules.all().stream().filter(ModuleSpec::isHead).toList());
    for (ModuleSpec module :
        TargetSelection.select(
            body, config.targetModules(), List.of(), List.of(), Set.of(ModuleSpec.Kind.LINEAR))) {
      groups.add(Group.lora(module, config.r()));
    }
    for (LayerPaths layer : modules.structure().layers()) {
      for (String end : List.of(layer.attentionOutput(), layer.output())) {
        body.find(end).ifPresent(m -> groups.add(Group.adapter(m, config.adapterSize())));
      }
    }
    Philox random = Philox.of(config.budget() * config.apetSeed(), "apet");
    List<Group> taken = take(groups, config.budget() / 2, random.child(0));
    Set<String> tensors = takeTensors(body, config.budget() / 2, random.child(1));
    if (taken.isEmpty() && tensors.isEmpty()) {
      throw new ConfigException(
          "budget", "nothing of this model fits half of " + config.budget() + "; raise it");
    }
    List<ModuleSpec> touched =
        body.all().stream()
            .filter(m -> m.tensors().keySet().stream().anyMatch(tensors::contains))
            .toList();
    return new Attached(config, taken, new DenseDelta(touched, tensors));
  }

  /** Tensors that are taken together. */
  record Group(ModuleSpec module, Map<String, List<Integer>> shapes, boolean isAdapter) {
    static Group lora(ModuleSpec module, int r) {
      Map<String, List<Integer>> shapes = new LinkedHashMap<>();
      shapes.put(module.path() + ".lora_A.weight", List.of(r, module.in()));
      shapes.put(module.path() + ".lora_B.weight", List.of(module.out(), r));
      return new Group(module, shapes, false);
    }

    static Group adapter(ModuleSpec module, int size) {
      Map<String, List<Integer>> shapes = new LinkedHashMap<>();
      shapes.put(module.path() + ".adapter_down.weight", List.of(size, module.out()));
      shapes.put(module.path() + ".adapter_down.bias", List.of(size));
      shapes.put(module.path() + ".adapter_up.weight", List.of(module.out(), size));
      shapes.put(module.path() + ".adapter_up.bias", List.of(module.out()));
      return new Group(module, shapes, true);
    }

    int first() {
      return count(shapes.values().iterator().next());
    }

    int all() {
      return shapes.values().stream().mapToInt(Apet::count).sum();
    }
  }

  private static int count(List<Integer> shape) {
    return shape.stream().reduce(1, Math::multiplyExact);
  }

  /** The groups to train, in random order. */
  static List<Group> take(List<Group> groups, int budget, Philox random) {
    List<Group> taken = new ArrayList<>();
    int left = budget;
    for (int i : random.permutation(groups.size())) {
      Group group = groups.get(i);
      if (left > 0 && group.first() <= left) {
        taken.add(group);
        left -= group.all();
      }
    }
    return List.copyOf(taken);
  }

  private static Set<String> takeTensors(ModuleTree body, int budget, Philox random) {
    Map<String, List<Integer>> tensors = new LinkedHashMap<>();
    body.all().forEach(module -> tensors.putAll(module.tensors()));
    List<String> names = List.copyOf(tensors.keySet());
    Set<String> taken = new LinkedHashSet<>();
    int left = budget;
    for (int i : random.permutation(names.size())) {
      int size = count(tensors.getOrDefault(names.get(i), List.of()));
      if (size <= left) {
        taken.add(names.get(i));
        left -= size;
      }
    }
    return taken;
  }

  private record Attached(Config config, List<Group> groups, DenseDelta delta)
      implements AttachedMethod {

    @Override
    public Map<String, List<Integer>> shapes() {
      Map<String, List<Integer>> shapes = new LinkedHashMap<>();
      groups.forEach(group -> shapes.putAll(group.shapes()));
      shapes.putAll(delta.shapes());
      return shapes;
    }

    /** LoRA's A uniform within {@code 1 / sqrt(in)}, D normal with 0.02, the rest zero. */
    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      Map<String, float[]> values = new LinkedHashMap<>(delta.zeros());
      for (Group group : groups) {
        group
            .shapes()
            .forEach(
                (name, shape) -> {
                  Philox random = Philox.of(seed, "apet", Philox.hash(name));
                  float bound = (float) (1 / Math.sqrt(group.module().in()));
                  float[] own = new float[count(shape)];
                  if (name.endsWith(".lora_A.weight")) {
                    own = random.uniform(own.length, -bound, bound);
                  } else if (name.endsWith(".adapter_down.weight")) {
                    own = random.gaussian(own.length, 0.02);
                  }
                  values.put(name, own);
                });
      }
      return values;
    }

    @Override
    public TensorRole role(String tensor) {
      return delta.bases().containsKey(tensor) ? TensorRole.LINEAR : TensorRole.FACTOR;
    }

    private float scale() {
      return (float) (config.loraAlpha() / config.r());
    }

    /** Differences innermost, then LoRA, then adapters. */
    @Override
    public List<Modification> modifications(MethodTensors tensors, TuningContext context) {
      List<Modification> modifications =
          new ArrayList<>(delta.modifications(tensors, module -> true));
      for (Group group : groups) {
        String path = group.module().path();
        if (!group.isAdapter()) {
          NDArray a = tensors.parameter(path + ".lora_A.weight");
          NDArray b = tensors.parameter(path + ".lora_B.weight");
          modifications.add(
              Modification.parallel(
                  path, x -> Linear.of(Scalars.times(Linear.of(x, a, null), scale()), b, null)));
        }
      }
      for (Group group : groups) {
        if (group.isAdapter()) {
          modifications.add(adapter(group.module().path(), tensors));
        }
      }
      return modifications;
    }

    private static Modification adapter(String path, MethodTensors tensors) {
      NDArray down = tensors.parameter(path + ".adapter_down.weight");
      NDArray downBias = tensors.parameter(path + ".adapter_down.bias");
      NDArray up = tensors.parameter(path + ".adapter_up.weight");
      NDArray upBias = tensors.parameter(path + ".adapter_up.bias");
      return Modification.sequential(
          path,
          h -> h.add(Linear.of(Activation.RELU.apply(Linear.of(h, down, downBias)), up, upBias)));
    }

    @Override
    public Optional<String> whyNotFused() {
      return groups.stream().anyMatch(Group::isAdapter)
          ? Optional.of("it has adapters, which are not linear")
          : Optional.empty();
    }

    @Override
    public Map<String, float[]> fuse(
        ParameterVector parameters, MethodState state, BaseWeights base) {
      whyNotFused()
          .ifPresent(
              reason -> {
                throw new IllegalStateException("APET cannot be fused: " + reason);
              });
      Map<String, float[]> fused = new LinkedHashMap<>(delta.fuse(parameters, base));
      for (Group group : groups) {
        String path = group.module().path();
        float[] weight = fused.computeIfAbsent(path + ".weight", n -> base.tensor(n).clone());
        float[] a = parameters.tensor(path + ".lora_A.weight");
        float[] b = parameters.tensor(path + ".lora_B.weight");
        int in = group.module().in();
        for (int i = 0; i < weight.length; i++) {
          float sum = 0;
          for (int q = 0; q < config.r(); q++) {
            sum += b[i / in * config.r() + q] * a[q * in + i % in];
          }
          weight[i] += scale() * sum;
        }
      }
      return fused;
    }
  }
}
