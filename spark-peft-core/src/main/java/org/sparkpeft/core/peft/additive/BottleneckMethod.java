package org.sparkpeft.core.peft.additive;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.types.Shape;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.sparkpeft.core.engine.Scalars;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.model.LayerPaths;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.BaseWeights;
import org.sparkpeft.core.peft.Dropout;
import org.sparkpeft.core.peft.Insertion;
import org.sparkpeft.core.peft.MethodClass;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.MethodTensors;
import org.sparkpeft.core.peft.Modification;
import org.sparkpeft.core.peft.PeftMethod;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * Bottleneck adapters: {@code A(h) = s (W_u f(W_d h + b_d) + b_u)} where a block with input x and
 * output f joins the residual stream, x and f being {@code [batch, seq, hidden]}. They differ in
 * where A is and what it reads; see {@link Placement}. Clients average the tensors, which is an
 * approximation, and needs adapters that start alike: hidden units could be permuted otherwise.
 */
abstract class BottleneckMethod implements PeftMethod<BottleneckConfig> {

  /** Positions in a layer that normalises after the addition; LN is the layer's own norm. */
  enum Placement {
    /** {@code LN(f + A(f) + x)} after attention and feed-forward block. */
    BOTH_SEQUENTIAL,
    /** {@code LN(f + A(z) + x)} with {@code z = LN(f + x)} after the feed-forward block. */
    FEED_FORWARD_AFTER_NORM,
    /** {@code LN(f + A(x) + x)} beside the feed-forward block. */
    FEED_FORWARD_PARALLEL,
    /** {@code A(z) + z} with {@code z = LN(f + x)}; s is trained, one factor for each channel. */
    FEED_FORWARD_LAST,
    /** {@code LN(f + (x + A(x)))} on every residual connection. */
    SKIP
  }

  private final String peftType;
  private final Placement placement;

  BottleneckMethod(String peftType, Placement placement) {
    this.peftType = peftType;
    this.placement = placement;
  }

  @Override
  public final String peftType() {
    return peftType;
  }

  @Override
  public final Class<BottleneckConfig> configType() {
    return BottleneckConfig.class;
  }

  @Override
  public final MethodClass methodClass() {
    return MethodClass.ADDITIVE;
  }

  final BottleneckConfig settings(
      int reduction, String nonLinearity, double scaling, double dropPath) {
    return new BottleneckConfig(
        peftType,
        reduction,
        nonLinearity,
        scaling,
        "lora",
        dropPath,
        List.of(),
        List.of("classifier"));
  }

  @Override
  public final AttachedMethod attach(BottleneckConfig config, ModuleTree modules) {
    ModuleTree.Structure structure = VirtualTokens.structure(modules, peftType);
    return new Attached(
        sites(placement, structure, config.layersToTransform(), config.size(structure.hidden())),
        placement,
        config);
  }

  private static List<Bottleneck> sites(
      Placement placement, ModuleTree.Structure structure, List<Integer> numbers, int size) {
    for (int number : numbers) {
      if (number >= structure.layers().size()) {
        throw new ConfigException(
            "layers_to_transform",
            "the model has " + structure.layers().size() + " layers from 0, got " + number);
      }
    }
    boolean attention = placement == Placement.BOTH_SEQUENTIAL || placement == Placement.SKIP;
    List<Bottleneck> sites = new ArrayList<>();
    for (int i = 0; i < structure.layers().size(); i++) {
      if (!numbers.isEmpty() && !numbers.contains(i)) {
        continue;
      }
      LayerPaths layer = structure.layers().get(i);
      if (attention) {
        sites.add(new Bottleneck(layer.attentionOutput(), structure.hidden(), size));
      }
      sites.add(new Bottleneck(layer.output(), structure.hidden(), size));
    }
    return sites;
  }

  /** One on each of {@code sites}. */
  record Attached(List<Bottleneck> sites, Placement placement, BottleneckConfig config)
      implements AttachedMethod {

    private boolean trainsScale() {
      return placement == Placement.FEED_FORWARD_LAST;
    }

    private static String scale(Bottleneck site) {
      return site.path() + ".adapter_scale";
    }

    @Override
    public Map<String, List<Integer>> shapes() {
      Map<String, List<Integer>> shapes = new LinkedHashMap<>();
      for (Bottleneck site : sites) {
        shapes.putAll(site.shapes());
        if (trainsScale()) {
          shapes.put(scale(site), List.of(site.hidden()));
        }
      }
      return shapes;
    }

    @Override
    public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
      Map<String, float[]> values = new LinkedHashMap<>();
      for (Bottleneck site : sites) {
        values.putAll(site.initialValues(seed, config.initAdapterWeights()));
        if (trainsScale()) {
          float[] scale = new float[site.hidden()];
          Arrays.fill(scale, (float) config.scaling());
          values.put(scale(site), scale);
        }
      }
      return values;
    }

    @Override
    public List<Modification> modifications(MethodTensors tensors, TuningContext context) {
      List<Modification> modifications = new ArrayList<>();
      for (Bottleneck site : sites) {
        modifications.add(
            new Modification.OnResidual(
                site.path(),
                placement == Placement.FEED_FORWARD_PARALLEL || placement == Placement.SKIP
                    ? Insertion.PARALLEL
                    : Insertion.SEQUENTIAL,
                (below, x, f) -> joined(site, below, x, f, tensors, context)));
      }
      return modifications;
    }

    private NDArray joined(
        Bottleneck site,
        Modification.ResidualForward below,
        NDArray x,
        NDArray f,
        MethodTensors tensors,
        TuningContext context) {
      return switch (placement) {
        case BOTH_SEQUENTIAL -> below.apply(x, f.add(adapted(site, f, tensors, context)));
        case FEED_FORWARD_AFTER_NORM ->
            below.apply(x, f.add(adapted(site, below.apply(x, f), tensors, context)));
        case FEED_FORWARD_PARALLEL -> below.apply(x, f.add(adapted(site, x, tensors, context)));
        case FEED_FORWARD_LAST -> {
          NDArray z = below.apply(x, f);
          yield z.add(adapted(site, z, tensors, context));
        }
        case SKIP -> below.apply(x.add(adapted(site, x, tensors, context)), f);
      };
    }

    /** {@code A(h)} with its scale. */
    private NDArray adapted(
        Bottleneck site, NDArray h, MethodTensors tensors, TuningContext context) {
      NDArray out = site.apply(tensors, config.activation()::apply, h);
      if (trainsScale()) {
        out = out.mul(tensors.parameter(scale(site)));
      } else if (config.scaling() != 1) {
        out = Scalars.times(out, (float) config.scaling());
      }
      if (context.training() && config.dropPath() > 0) {
        int rows = (int) h.getShape().get(0);
        Philox random = context.random().child(Philox.hash(site.path()));
        float[] kept = Dropout.mask(rows, config.dropPath(), random);
        out = out.mul(context.manager().create(kept, new Shape(rows, 1, 1)));
      }
      return out;
    }

    @Override
    public Optional<String> whyNotFused() {
      return Optional.of("the function between an adapter's two layers is not linear");
    }

    @Override
    public Map<String, float[]> fuse(
        ParameterVector parameters, MethodState state, BaseWeights base) {
      throw new IllegalStateException(whyNotFused().orElseThrow());
    }
  }
}
