package org.sparkpeft.core.peft.sparse;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.types.Shape;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.SortedMap;
import java.util.function.ToIntFunction;
import java.util.function.UnaryOperator;
import java.util.stream.IntStream;
import org.sparkpeft.core.engine.ElementwiseKernels;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.io.DType;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.nn.Embedding;
import org.sparkpeft.core.peft.AdapterTensors;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.BaseWeights;
import org.sparkpeft.core.peft.Insertion;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.MethodTensors;
import org.sparkpeft.core.peft.Modification;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * {@code W + scatter(values)} for a fixed number of entries of each matrix: {@code values [k]} are
 * trained, {@code indices [k]} (row-major, each once, in any order) are state. Forward makes one
 * copy of W in a step; backward is the dense weight gradient, gathered at the indices; no dense
 * optimiser state exists.
 *
 * <p>A file holds {@code <module>.sparse_values} and {@code <module>.sparse_indices} (int32,
 * ascending).
 */
final class SparseDelta {
  private final List<Site> sites;

  /** One matrix and how many of its entries are trained. */
  record Site(ModuleSpec module, int count) {
    String values() {
      return module.path() + ".sparse_values";
    }

    String indices() {
      return module.path() + ".sparse_indices";
    }

    /** The base tensor; also the name of the probe of its dense gradient. */
    String weight() {
      return module.path() + ".weight";
    }

    int size() {
      return Math.multiplyExact(module.in(), module.out());
    }

    int columns() {
      return module.kind() == ModuleSpec.Kind.EMBEDDING ? module.out() : module.in();
    }
  }

  static final Set<ModuleSpec.Kind> KINDS =
      Set.of(ModuleSpec.Kind.LINEAR, ModuleSpec.Kind.EMBEDDING);

  private SparseDelta(List<Site> sites) {
    this.sites = sites;
  }

  /**
   * @param count entries to train of each module; modules with none are left out
   */
  static SparseDelta of(List<ModuleSpec> modules, ToIntFunction<ModuleSpec> count) {
    List<Site> sites = new ArrayList<>();
    for (ModuleSpec module : modules) {
      int k = count.applyAsInt(module);
      if (k > 0) {
        sites.add(new Site(module, k));
      }
    }
    return new SparseDelta(List.copyOf(sites));
  }

  List<Site> sites() {
    return sites;
  }

  Map<String, List<Integer>> shapes() {
    Map<String, List<Integer>> shapes = new LinkedHashMap<>();
    sites.forEach(site -> shapes.put(site.values(), List.of(site.count())));
    return shapes;
  }

  /** All zero: the base itself. */
  Map<String, float[]> zeros() {
    Map<String, float[]> zeros = new LinkedHashMap<>();
    sites.forEach(site -> zeros.put(site.values(), new float[site.count()]));
    return zeros;
  }

  /** The gradient of the whole matrix is there for observers, under {@link Site#weight}. */
  List<Modification> modifications(MethodTensors tensors, TuningContext context) {
    List<Modification> modifications = new ArrayList<>();
    for (Site site : sites) {
      NDArray indices = tensors.state(site.indices());
      NDArray values = tensors.parameter(site.values());
      UnaryOperator<NDArray> change =
          weight -> {
            Shape shape = weight.getShape();
            NDArray sum = scatter(weight, indices, values, context);
            return context.probe(site.weight(), shape).map(sum::add).orElse(sum);
          };
      modifications.add(
          site.module().kind() == ModuleSpec.Kind.EMBEDDING
              ? new Modification.OnEmbedding(
                  site.module().path(),
                  Insertion.WEIGHT,
                  (below, layer, ids) ->
                      below.apply(
                          new Embedding(
                              layer.path(), change.apply(layer.weight().full(context.manager()))),
                          ids))
              : Modification.weight(site.module().path(), change));
    }
    return modifications;
  }

  /** A copy of the weight with values added; owned by the step, not by the shared base. */
  private static NDArray scatter(
      NDArray weight, NDArray indices, NDArray values, TuningContext context) {
    NDArray flat = weight.reshape(-1);
    flat.attach(context.manager());
    return ElementwiseKernels.addAt(flat, indices, values).reshape(weight.getShape());
  }

  /** The matrix that has {@code values [k]} at {@code indices} and zeros elsewhere. */
  static NDArray dense(Site site, NDArray values, NDArray indices, TuningContext context) {
    NDArray zeros = context.manager().zeros(new Shape(site.size()));
    int columns = site.columns();
    return zeros.scatter(indices, values, 0).reshape(site.size() / columns, columns);
  }

  Map<String, float[]> fuse(ParameterVector parameters, MethodState state, BaseWeights base) {
    Map<String, float[]> fused = new LinkedHashMap<>();
    for (Site site : sites) {
      float[] weight = base.tensor(site.weight()).clone();
      int[] indices = state.integers(site.indices());
      float[] values = parameters.tensor(site.values());
      for (int slot = 0; slot < indices.length; slot++) {
        weight[indices[slot]] += values[slot];
      }
      fused.put(site.weight(), weight);
    }
    return fused;
  }

  SortedMap<String, TensorData> save(ParameterVector parameters, MethodState state) {
    List<TensorData> file = new ArrayList<>();
    for (Site site : sites) {
      int[] indices = state.integers(site.indices());
      float[] values = parameters.tensor(site.values());
      int[] order =
          IntStream.range(0, indices.length)
              .boxed()
              .sorted(Comparator.comparingInt(slot -> indices[slot]))
              .mapToInt(Integer::intValue)
              .toArray();
      float[] sorted = new float[order.length];
      long[] places = new long[order.length];
      for (int i = 0; i < order.length; i++) {
        sorted[i] = values[order[i]];
        places[i] = indices[order[i]];
      }
      List<Integer> shape = List.of(order.length);
      file.add(TensorData.ofFloats(AdapterTensors.PREFIX + site.values(), shape, sorted));
      file.add(
          TensorData.ofLongs(AdapterTensors.PREFIX + site.indices(), shape, places, DType.I32));
    }
    return TensorData.byName(file);
  }

  /**
   * @throws FormatException if tensors are missing, of another size, or indices are not ascending
   *     entries of the matrix
   */
  AttachedMethod.Loaded load(AdapterTensors file) {
    Map<String, float[]> values = file.takeAll(shapes());
    MethodState.Builder state = new MethodState.Builder();
    for (Site site : sites) {
      String name = AdapterTensors.PREFIX + site.indices();
      List<Integer> shape = List.of(site.count());
      long[] stored = file.take(name, shape).toLongs();
      state.integers(site.indices(), shape, ascending(name, stored, site.size()));
    }
    return new AttachedMethod.Loaded(values, state.build());
  }

  /** The indices of a file, checked. */
  static int[] ascending(String name, long[] stored, int size) {
    int[] indices = new int[stored.length];
    for (int i = 0; i < stored.length; i++) {
      if (stored[i] < 0 || stored[i] >= size || (i > 0 && stored[i] <= stored[i - 1])) {
        throw new FormatException(
            name,
            "indices must rise and lie in 0.."
                + (size - 1)
                + ", got "
                + stored[i]
                + " at place "
                + i);
      }
      indices[i] = (int) stored[i];
    }
    return indices;
  }

  /** A state with other indices. */
  MethodState state(Map<String, int[]> indices) {
    MethodState.Builder state = new MethodState.Builder();
    for (Site site : sites) {
      int[] own = indices.get(site.indices());
      if (own == null) {
        throw new IllegalArgumentException("no indices named " + site.indices());
      }
      state.integers(site.indices(), List.of(own.length), own);
    }
    return state.build();
  }
}
