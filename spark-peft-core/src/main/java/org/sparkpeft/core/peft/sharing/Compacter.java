package org.sparkpeft.core.peft.sharing;

import java.util.List;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.MethodClass;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethod;

/**
 * Compacter (Karimi Mahabadi et al. 2021, arXiv 2106.04647): after each attention and feed-forward
 * block, before the residual connection, an adapter {@code o + up(act(down(o)))} of parameterised
 * hypercomplex layers (Zhang et al. 2021, arXiv 2102.08597), {@code y = x H + b} with {@code H =
 * sum_i A_i kron (s_i t_i)}; the n rules {@code A_i [n, n]} are one tensor, shared by all layers,
 * down and up. The start is nearly, not exactly, the base: rules are of size 1e-4. Factors of rank
 * above 1 are multiplied as matrices; the paper's code is right for rank 1 only. The paper trains
 * the layer norms too: name them in {@code modules_to_save}.
 *
 * <p>Federated: rule, s and t are factors of one product, so that their means have an error.
 */
public final class Compacter implements PeftMethod<Compacter.Config> {

  /**
   * Settings.
   *
   * @param phmDim n, number and size of the rules, 1..64; must divide the hidden size
   * @param phmRank rank k of the factors, 1..512
   * @param reductionFactor hidden size over the bottleneck's, which is rounded down to a multiple
   *     of n and at least n
   * @param nonLinearity activation between down and up, by Hugging Face's name
   * @param modulesToSave modules trained and saved in full
   */
  public record Config(
      int phmDim, int phmRank, int reductionFactor, String nonLinearity, List<String> modulesToSave)
      implements PeftConfig {
    public Config {
      modulesToSave = List.copyOf(modulesToSave);
      Problems problems = new Problems();
      new PhmAdapters.Settings(phmDim, phmRank, reductionFactor, nonLinearity).check(problems);
      problems.throwIfAny();
    }

    @Override
    public String peftType() {
      return "COMPACTER";
    }
  }

  @Override
  public String peftType() {
    return "COMPACTER";
  }

  @Override
  public Class<Config> configType() {
    return Config.class;
  }

  @Override
  public MethodClass methodClass() {
    return MethodClass.ADDITIVE;
  }

  @Override
  public Config defaults() {
    return new Config(4, 1, 32, "gelu_new", List.of("classifier"));
  }

  @Override
  public AttachedMethod attach(Config config, ModuleTree modules) {
    PhmAdapters.Settings settings =
        new PhmAdapters.Settings(
            config.phmDim(), config.phmRank(), config.reductionFactor(), config.nonLinearity());
    return PhmAdapters.attach(settings, modules, true);
  }
}
