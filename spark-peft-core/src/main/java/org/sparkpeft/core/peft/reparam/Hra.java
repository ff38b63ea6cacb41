package org.sparkpeft.core.peft.reparam;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.sparkpeft.core.engine.Scalars;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.BaseWeights;
import org.sparkpeft.core.peft.FieldName;
import org.sparkpeft.core.peft.MethodClass;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.MethodTensors;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethod;
import org.sparkpeft.core.peft.TargetModules;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;

/**
 * HRA, Householder reflections of a layer's input (Yuan et al. 2024, arXiv 2405.17484): {@code W
 * H_1 ... H_r} with {@code H_i = I - 2 u_i u_it}, {@code u_i} column i of the trained {@code U [in,
 * r]} divided by its length; with Gram-Schmidt, {@code W (I - 2 V Vt)} for the orthonormalised
 * columns. An even r starts as the base, since reflections come in equal pairs. Averages of
 * reflections are not reflections.
 */
public final class Hra implements PeftMethod<Hra.Config> {

  /**
   * The settings, under Hugging Face's names.
   *
   * @param r number of reflections; odd numbers change the output at the start
   * @param applyGs whether the columns are made orthogonal
   * @param targetModules linear layers acted on
   * @param excludeModules names to leave out
   * @param initWeights false starts with all columns random, so the output changes at once
   * @param layersToTransform layer numbers; empty means all
   * @param bias {@code none}, or {@code hra_only} to train the layers' biases
   * @param modulesToSave modules trained in full
   */
  public record Config(
      int r,
      @FieldName("apply_GS") boolean applyGs,
      TargetModules targetModules,
      List<String> excludeModules,
      boolean initWeights,
      List<Integer> layersToTransform,
      String bias,
      List<String> modulesToSave)
      implements PeftConfig {

    public Config {
      excludeModules = List.copyOf(excludeModules);
      layersToTransform = List.copyOf(layersToTransform);
      modulesToSave = List.copyOf(modulesToSave);
      Problems problems = new Problems();
      Checks.rank(problems, r);
      Checks.bias(problems, bias);
      Checks.layers(problems, layersToTransform);
      problems.throwIfAny();
    }

    @Override
    public String peftType() {
      return "HRA";
    }
  }

  private static Config config(List<String> modulesToSave) {
    return new Config(
        8,
        false,
        TargetModules.of("query", "value"),
        List.of(),
        true,
        List.of(),
        "none",
        modulesToSave);
  }

  @Override
  public String peftType() {
    return "HRA";
  }

  @Override
  public Class<Config> configType() {
    return Config.class;
  }

  @Override
  public MethodClass methodClass() {
    return MethodClass.REPARAMETERISED;
  }

  @Override
  public Config defaults() {
    return config(List.of("classifier"));
  }

  @Override
  public Config fileDefaults() {
    return config(List.of());
  }

  @Override
  public Map<String, Object> inertFields() {
    return Checks.inert();
  }

  @Override
  public AttachedMethod attach(Config config, ModuleTree modules) {
    List<ModuleSpec> layers =
        Layers.linear(
            modules, config.targetModules(), config.excludeModules(), config.layersToTransform());
    return TrainedBiases.of(config.bias(), new Attached(config, layers), layers);
  }

  private record Attached(Config config, List<ModuleSpec> layers) implements WeightMethod {

    private static String name(ModuleSpec layer) {
      return layer.path() + ".hra_u";
    }

    @Override
    public Map<String, List<Integer>> shapes() {
      Map<String, List<Integer>> shapes = new LinkedHashMap<>();
      layers.forEach(layer -> shapes.put(name(layer), List.of(layer.in(), config.r())));
      return shapes;
    }

    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      Map<String, float[]> values = new LinkedHashMap<>();
      shapes()
          .forEach(
              (name, shape) -> {
                Philox random = Philox.of(seed, "hra", Philox.hash(name));
                int repeats = config.initWeights() && config.r() % 2 == 0 ? 2 : 1;
                float[] columns =
                    Layers.kaiming(random, Layers.size(shape) / repeats, config.r() / repeats);
                float[] start = new float[Layers.size(shape)];
                for (int i = 0; i < start.length; i++) {
                  start[i] = columns[i / repeats];
                }
                values.put(name, start);
              });
      return values;
    }

    @Override
    public NDArray weight(
        ModuleSpec layer, NDArray weight, MethodTensors tensors, Optional<TuningContext> training) {
      NDArray trained = tensors.parameter(name(layer));
      NDList columns = config.r() == 1 ? new NDList(trained) : trained.split(config.r(), 1);
      NDArray reflected = weight;
      List<NDArray> before = new ArrayList<>();
      for (NDArray column : columns) {
        NDArray direction = column;
        for (NDArray earlier : before) {
          direction = direction.sub(earlier.mul(earlier.mul(direction).sum()));
        }
        direction = direction.div(direction.mul(direction).sum().sqrt()); // [in, 1]
        // For orthogonal directions one reflection after the other is I - 2 V Vt.
        NDArray along = Scalars.times(direction, 2).transpose(); // [1, in]
        reflected = weight(reflected, direction, along);
        if (config.applyGs()) {
          before.add(direction);
        }
      }
      return reflected;
    }

    /** {@code V - V u (2 u)t}. */
    private static NDArray weight(NDArray weight, NDArray direction, NDArray along) {
      NDArray projection = direction.transpose().matMul(weight.transpose()).transpose(); // [out, 1]
      return projection.matMul(along).neg().add(weight);
    }
  }
}
