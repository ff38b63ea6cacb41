package org.sparkpeft.core.peft.sharing;

import java.util.List;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.MethodClass;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethod;

/**
 * Compacter++ (Karimi Mahabadi et al. 2021, arXiv 2106.04647): {@link Compacter} with adapters
 * after feed-forward blocks alone.
 */
public final class CompacterPp implements PeftMethod<CompacterPp.Config> {

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
      return "COMPACTER_PP";
    }
  }

  @Override
  public String peftType() {
    return "COMPACTER_PP";
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
    return PhmAdapters.attach(settings, modules, false);
  }
}
