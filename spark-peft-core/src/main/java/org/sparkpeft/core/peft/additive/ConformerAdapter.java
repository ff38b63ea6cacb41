package org.sparkpeft.core.peft.additive;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.types.Shape;
import ai.djl.nn.convolutional.Conv1d;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.sparkpeft.core.engine.Scalars;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.model.ModelInput;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.nn.Activation;
import org.sparkpeft.core.nn.LayerNorm;
import org.sparkpeft.core.nn.Linear;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.BaseWeights;
import org.sparkpeft.core.peft.Insertion;
import org.sparkpeft.core.peft.MethodClass;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.MethodTensors;
import org.sparkpeft.core.peft.Modification;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethod;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * Conformer adapter (Cappellazzo et al. 2023, arXiv 2312.03694), parallel to the feed-forward
 * block: {@code LN(f + s C(x) + x)}, C being a pointwise layer to 2 m channels, a gated linear
 * unit, a depthwise convolution over the sequence, a norm, SiLU, and a pointwise layer back. The
 * norm is over channels, not over the batch, whose statistics differ from client to client; the
 * last layer starts at zero, so the model is unchanged. Padding is zero in the convolution.
 * Averages as factors do.
 */
public final class ConformerAdapter implements PeftMethod<ConformerAdapter.Config> {
  private static final int FEWEST = 8;

  /**
   * Settings.
   *
   * @param reductionFactor the hidden size divided by this is m, but m is at least 8: a norm over
   *     one or two channels would leave nothing
   * @param kernelSize width of the convolution in tokens, odd, 1..1023
   * @param scaling factor s
   * @param modulesToSave modules trained and saved in full
   */
  public record Config(
      int reductionFactor, int kernelSize, double scaling, List<String> modulesToSave)
      implements PeftConfig {

    public Config {
      modulesToSave = List.copyOf(modulesToSave);
      new Problems()
          .require(
              reductionFactor >= 1,
              "reduction_factor",
              reductionFactor,
              "must be 1 or more; usual 96")
          .require(
              kernelSize >= 1 && kernelSize <= 1023 && kernelSize % 2 == 1,
              "kernel_size",
              kernelSize,
              "must be odd, 1..1023")
          .require(
              Double.isFinite(scaling) && scaling != 0,
              "scaling",
              scaling,
              "must be a number but 0")
          .throwIfAny();
    }

    @Override
    public String peftType() {
      return "CONFORMER_ADAPTER";
    }
  }

  @Override
  public String peftType() {
    return "CONFORMER_ADAPTER";
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
    return new Config(96, 31, 1, List.of("classifier"));
  }

  @Override
  public AttachedMethod attach(Config config, ModuleTree modules) {
    ModuleTree.Structure structure = VirtualTokens.structure(modules, peftType());
    int size = Math.max(FEWEST, structure.hidden() / config.reductionFactor());
    return new Attached(
        config,
        structure.layers().stream()
            .map(l -> new Site(l.output(), structure.hidden(), size))
            .toList());
  }

  /** One adapter of {@code size} channels. */
  private record Site(String path, int hidden, int size) {
    String name(String part) {
      return path + ".conformer_" + part;
    }

    Map<String, List<Integer>> shapes(int kernel) {
      Map<String, List<Integer>> shapes = new LinkedHashMap<>();
      shapes.put(name("down.weight"), List.of(2 * size, hidden));
      shapes.put(name("down.bias"), List.of(2 * size));
      shapes.put(name("conv.weight"), List.of(size, 1, kernel));
      shapes.put(name("conv.bias"), List.of(size));
      shapes.put(name("norm.weight"), List.of(size));
      shapes.put(name("norm.bias"), List.of(size));
      shapes.put(name("up.weight"), List.of(hidden, size));
      shapes.put(name("up.bias"), List.of(hidden));
      return shapes;
    }
  }

  private record Attached(Config config, List<Site> sites) implements AttachedMethod {
    private static final float EPSILON = 1e-5f;

    /** Convolves over neighbours. */
    @Override
    public boolean isTokenwise() {
      return false;
    }

    @Override
    public Map<String, List<Integer>> shapes() {
      Map<String, List<Integer>> shapes = new LinkedHashMap<>();
      sites.forEach(site -> shapes.putAll(site.shapes(config.kernelSize())));
      return shapes;
    }

    /** Weights uniform within 1/sqrt(inputs), the last zero; the norm the identity. */
    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      Map<String, float[]> values = new LinkedHashMap<>();
      for (Site site : sites) {
        site.shapes(config.kernelSize())
            .forEach(
                (name, shape) ->
                    values.put(name, new float[shape.stream().reduce(1, Math::multiplyExact)]));
        for (String part : List.of("down.weight", "conv.weight")) {
          String name = site.name(part);
          int in = part.startsWith("down") ? site.hidden() : config.kernelSize();
          Philox random = Philox.of(seed, "conformer", Philox.hash(name));
          values.compute(
              name,
              (n, zeros) -> VirtualTokens.uniform(random, zeros == null ? 0 : zeros.length, in));
        }
        float[] ones = new float[site.size()];
        Arrays.fill(ones, 1);
        values.put(site.name("norm.weight"), ones);
      }
      return values;
    }

    @Override
    public List<Modification> modifications(MethodTensors tensors, TuningContext context) {
      List<Modification> modifications = new ArrayList<>();
      for (Site site : sites) {
        modifications.add(
            new Modification.OnResidual(
                site.path(),
                Insertion.PARALLEL,
                (below, x, f) -> {
                  NDArray out = adapted(site, x, tensors, context);
                  return below.apply(x, f.add(Scalars.times(out, (float) config.scaling())));
                }));
      }
      return modifications;
    }

    /** {@code C(x)}, shaped as {@code x}. */
    private NDArray adapted(Site site, NDArray x, MethodTensors tensors, TuningContext context) {
      NDList halves = // each [batch, seq, m]
          Linear.of(
                  x,
                  tensors.parameter(site.name("down.weight")),
                  tensors.parameter(site.name("down.bias")))
              .split(2, 2);
      NDArray gated = halves.get(0).mul(halves.get(1).getNDArrayInternal().sigmoid());
      if (context.batch().isPadded()) {
        gated = gated.mul(real(x.getShape().get(1), context));
      }
      NDArray mixed = // [batch, m, seq]
          Conv1d.conv1d(
                  gated.transpose(0, 2, 1),
                  tensors.parameter(site.name("conv.weight")),
                  tensors.parameter(site.name("conv.bias")),
                  new Shape(1),
                  new Shape(config.kernelSize() / 2),
                  new Shape(1),
                  site.size())
              .singletonOrThrow();
      NDArray normed =
          LayerNorm.of(
              mixed.transpose(0, 2, 1),
              tensors.parameter(site.name("norm.weight")),
              tensors.parameter(site.name("norm.bias")),
              EPSILON);
      return Linear.of(
          Activation.SILU.apply(normed),
          tensors.parameter(site.name("up.weight")),
          tensors.parameter(site.name("up.bias")));
    }

    /** {@code [batch, seq, 1]}: 1 for tokens, virtual ones in front included, 0 for padding. */
    private static NDArray real(long width, TuningContext context) {
      ModelInput batch = context.batch();
      int all = Math.toIntExact(width);
      int virtual = all - batch.width();
      float[] mask = new float[batch.size() * all];
      for (int row = 0; row < batch.size(); row++) {
        Arrays.fill(mask, row * all, row * all + virtual + batch.length(row), 1);
      }
      return context.manager().create(mask, new Shape(batch.size(), all, 1));
    }

    @Override
    public Optional<String> whyNotFused() {
      return Optional.of("a convolution over the sequence is no part of any weight");
    }

    @Override
    public Map<String, float[]> fuse(
        ParameterVector parameters, MethodState state, BaseWeights base) {
      throw new IllegalStateException(whyNotFused().orElseThrow());
    }
  }
}
