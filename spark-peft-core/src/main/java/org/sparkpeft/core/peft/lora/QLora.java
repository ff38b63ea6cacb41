package org.sparkpeft.core.peft.lora;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SortedMap;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.nn.Linear;
import org.sparkpeft.core.peft.AdapterTensors;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.BaseWeights;
import org.sparkpeft.core.peft.Insertion;
import org.sparkpeft.core.peft.Lora;
import org.sparkpeft.core.peft.LoraConfig;
import org.sparkpeft.core.peft.MethodClass;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.MethodTensors;
import org.sparkpeft.core.peft.Modification;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethod;
import org.sparkpeft.core.peft.TargetModules;
import org.sparkpeft.core.peft.TensorRole;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * QLoRA (Dettmers et al. 2023, arXiv 2305.14314): LoRA on a base whose linear weights, but for the
 * task head's, are 4-bit NormalFloat, {@code y = NF4(W) x + b + s B A x}. Computed in float32;
 * gradients pass through the dequantised weight to x and never to it.
 *
 * <p>The packed weights are the method's state, made on the driver, so every client has the same
 * bits; each step dequantises the layers that it runs. The float32 base stays loaded, since other
 * methods share it. The file holds LoRA's tensors, and a reader quantises the base again: on a base
 * that is not quantised they would compute something slightly else. Federated as LoRA.
 */
public final class QLora implements PeftMethod<QLora.Config> {

  /**
   * @param r rank, 1..512
   * @param loraAlpha numerator of LoRA's scaling, above 0
   * @param loraDropout probability in [0, 1) of dropping an entry of the adapter branch's input in
   *     training
   * @param blocksize weights that share a scale: a power of 2 in 32..4096
   * @param doubleQuant whether scales are 8-bit codes, which takes 4.13 instead of 4.5 bits a
   *     weight in blocks of 64
   * @param targetModules linear layers the adapter acts on
   * @param layersToTransform layer numbers to act on; empty means all
   * @param modulesToSave modules trained and saved in full
   */
  public record Config(
      int r,
      double loraAlpha,
      double loraDropout,
      int blocksize,
      boolean doubleQuant,
      TargetModules targetModules,
      List<Integer> layersToTransform,
      List<String> modulesToSave)
      implements PeftConfig {
    public Config {
      layersToTransform = List.copyOf(layersToTransform);
      modulesToSave = List.copyOf(modulesToSave);
      new Problems()
          .require(
              org.sparkpeft.core.vector.Nf4.isBlock(blocksize),
              "blocksize",
              blocksize,
              "must be a power of 2 in 32..4096; usual is 64")
          .throwIfAny();
      lora(r, loraAlpha, loraDropout, targetModules, layersToTransform, modulesToSave);
    }

    @Override
    public String peftType() {
      return "QLORA";
    }

    private LoraConfig lora() {
      return lora(r, loraAlpha, loraDropout, targetModules, layersToTransform, modulesToSave);
    }

    /** Checks LoRA's part, too. */
    private static LoraConfig lora(
        int r,
        double alpha,
        double dropout,
        TargetModules targets,
        List<Integer> layers,
        List<String> save) {
      return new LoraConfig(
          r, alpha, dropout, targets, List.of(), false, "true", Map.of(), Map.of(), layers, save);
    }
  }

  @Override
  public String peftType() {
    return "QLORA";
  }

  @Override
  public Class<Config> configType() {
    return Config.class;
  }

  @Override
  public MethodClass methodClass() {
    return MethodClass.REPARAMETERISED;
  }

  /** The paper's: rank 64, alpha 16, on all linear layers. */
  @Override
  public Config defaults() {
    return new Config(
        64,
        16,
        0,
        64,
        true,
        new TargetModules(List.of(), TargetModules.ALL_LINEAR),
        List.of(),
        List.of("classifier"));
  }

  @Override
  public AttachedMethod attach(Config config, ModuleTree modules) {
    LowRank.linears(modules, config.targetModules(), config.layersToTransform());
    List<ModuleSpec> quantised =
        modules.ofKind(ModuleSpec.Kind.LINEAR).stream().filter(m -> !m.isHead()).toList();
    return new Attached(config, new Lora().attach(config.lora(), modules), quantised);
  }

  private record Attached(Config config, AttachedMethod lora, List<ModuleSpec> quantised)
      implements AttachedMethod {
    @Override
    public boolean startsAsBase() {
      return false;
    }

    private Nf4Weight weight(ModuleSpec module) {
      return new Nf4Weight(module, config.blocksize(), config.doubleQuant());
    }

    @Override
    public Map<String, List<Integer>> shapes() {
      return lora.shapes();
    }

    @Override
    public TensorRole role(String tensor) {
      return lora.role(tensor);
    }

    @Override
    public MethodState initialState(long seed, BaseWeights base) {
      MethodState.Builder state = new MethodState.Builder();
      for (ModuleSpec module : quantised) {
        weight(module).quantise(base.tensor(module.path() + ".weight"), state);
      }
      return state.build();
    }

    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      return lora.initialValues(seed, state, base);
    }

    @Override
    public List<Modification> modifications(MethodTensors tensors, TuningContext context) {
      List<Modification> modifications = new ArrayList<>();
      for (ModuleSpec module : quantised) {
        Nf4Weight weight = weight(module);
        modifications.add(
            new Modification.OnLinear(
                module.path(),
                Insertion.WEIGHT,
                (below, layer, x) ->
                    below.apply(
                        new Linear(
                            layer.path(),
                            weight.dequantised(tensors, context.manager()),
                            layer.bias()),
                        x)));
      }
      modifications.addAll(lora.modifications(tensors, context));
      return modifications;
    }

    @Override
    public Optional<String> whyNotFused() {
      return Optional.of(
          "the base is in 4 bits, and rounding to them would lose what was trained; export the"
              + " adapter");
    }

    @Override
    public Map<String, float[]> fuse(
        ParameterVector parameters, MethodState state, BaseWeights base) {
      throw new IllegalStateException("a 4-bit base cannot be fused into");
    }

    @Override
    public SortedMap<String, TensorData> save(ParameterVector parameters, MethodState state) {
      return lora.save(parameters, state);
    }

    @Override
    public Loaded load(AdapterTensors file, BaseWeights base) {
      return new Loaded(lora.load(file, base).values(), initialState(0, base));
    }

    @Override
    public Optional<AsLora> asLora(ParameterVector parameters, MethodState state) {
      return lora.asLora(parameters, state);
    }
  }
}
