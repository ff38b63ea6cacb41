package org.sparkpeft.core.peft.lora;

import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.model.WeightForm;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.Lora;
import org.sparkpeft.core.peft.LoraConfig;
import org.sparkpeft.core.peft.MethodClass;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethod;
import org.sparkpeft.core.peft.TargetModules;
import org.sparkpeft.core.vector.Nf4;

/**
 * QLoRA (Dettmers et al. 2023, arXiv 2305.14314): LoRA on a base whose linear weights, but for the
 * task head's, are 4-bit NormalFloat, {@code y = NF4(W) x + b + s B A x}. Computed in float32;
 * gradients pass through the dequantised weight to x and never to it.
 *
 * <p>It is {@code LORA} that asks for its base: with {@code model.dtype: nf4} LORA computes the
 * same. Every reader quantises the base in the same way, to the same bits. The file holds LoRA's
 * tensors; on a base that is not quantised they would compute something slightly else. Federated as
 * LoRA.
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
              Nf4.isBlock(blocksize),
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
  public Optional<WeightForm> baseForm(Config config) {
    return Optional.of(WeightForm.nf4(config.blocksize(), config.doubleQuant()));
  }

  @Override
  public AttachedMethod attach(Config config, ModuleTree modules) {
    LowRank.linears(modules, config.targetModules(), config.layersToTransform());
    return new Lora().attach(config.lora(), modules);
  }
}
