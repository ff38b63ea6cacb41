package org.sparkpeft.merge.adapter;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.SortedSet;
import java.util.TreeMap;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.TaskVector;
import org.sparkpeft.merge.method.Breadcrumbs;
import org.sparkpeft.merge.method.Combination;
import org.sparkpeft.merge.method.Dare;
import org.sparkpeft.merge.method.Knots;
import org.sparkpeft.merge.method.LoraHub;
import org.sparkpeft.merge.method.LoraMerge;
import org.sparkpeft.merge.method.LoraModule;
import org.sparkpeft.merge.method.MergeMethod;
import org.sparkpeft.merge.method.PcbMerging;
import org.sparkpeft.merge.method.Rescale;
import org.sparkpeft.merge.method.Sparsify;
import org.sparkpeft.merge.method.TaskArithmetic;
import org.sparkpeft.merge.method.Ties;

/**
 * The modules of several adapters become one set. See {@link AdapterMerge} for what the types do.
 *
 * @param how what to do
 */
record ModuleMerge(AdapterMerge how) {
  /** Delta W larger than this on both sides takes too long to factorise. */
  private static final int LARGEST_SIDE = 2048;

  /** A module as some of the adapters have it. */
  private record Present(List<LoraModule> modules, List<Double> weights, List<Integer> owners) {}

  SortedMap<String, LoraModule> merge(
      SortedSet<String> names,
      List<LoraAdapter> adapters,
      List<Double> weights,
      List<String> notes) {
    SortedMap<String, Present> all = new TreeMap<>(ParameterLayout.UTF8_ORDER);
    names.forEach(name -> all.put(name, present(name, adapters, weights, notes)));
    SortedMap<String, LoraModule> merged = new TreeMap<>(ParameterLayout.UTF8_ORDER);
    if (how.type().equals("knots")) {
      merged.putAll(knots(all, weights));
    } else {
      all.forEach((name, here) -> merged.put(name, one(name, here.modules(), here.weights())));
    }
    merged.replaceAll((name, module) -> module.folded(how.lambda()));
    return merged;
  }

  private Present present(
      String name, List<LoraAdapter> adapters, List<Double> weights, List<String> notes) {
    List<LoraModule> present = new ArrayList<>();
    List<Double> theirs = new ArrayList<>();
    List<Integer> owners = new ArrayList<>();
    for (int t = 0; t < adapters.size(); t++) {
      LoraModule module = adapters.get(t).modules().get(name);
      if (module == null) {
        notes.add(adapters.get(t).path() + " has no " + name + "; it counts as zero");
      } else {
        if (!present.isEmpty()
            && (module.in() != present.get(0).in() || module.out() != present.get(0).out())) {
          throw new DataException(
              name
                  + " is "
                  + module.out()
                  + " x "
                  + module.in()
                  + " in "
                  + adapters.get(t).path()
                  + ", elsewhere "
                  + present.get(0).out()
                  + " x "
                  + present.get(0).in()
                  + "; the adapters are for different models");
        }
        present.add(module);
        theirs.add(weights.get(t));
        owners.add(t);
      }
    }
    return new Present(present, theirs, owners);
  }

  private SortedMap<String, LoraModule> knots(
      SortedMap<String, Present> all, List<Double> weights) {
    SortedMap<String, List<LoraModule>> layers = new TreeMap<>(ParameterLayout.UTF8_ORDER);
    all.forEach(
        (name, here) -> {
          LoraModule any = here.modules().get(0);
          LoraModule zero =
              LoraModule.of(any.out(), 1, any.in(), new float[any.in()], new float[any.out()], 1);
          List<LoraModule> each = new ArrayList<>(Collections.nCopies(weights.size(), zero));
          for (int i = 0; i < here.owners().size(); i++) {
            each.set(here.owners().get(i), here.modules().get(i));
          }
          layers.put(name, each);
        });
    Ties ties = new Ties(how.density(), false, 1, Ties.Convention.MERGEKIT);
    SortedMap<String, LoraModule> merged = new TreeMap<>(ParameterLayout.UTF8_ORDER);
    new Knots(ties, 1)
        .merge(layers, weights)
        .forEach(
            (name, module) ->
                merged.put(
                    name,
                    how.rank() == 0 || module.rank() <= how.rank()
                        ? module
                        : LoraMerge.svd(List.of(module), List.of(1.0), how.rank())));
    return merged;
  }

  private LoraModule one(String name, List<LoraModule> modules, List<Double> weights) {
    String type = how.type();
    int most = modules.stream().mapToInt(LoraModule::rank).max().orElse(1);
    int kept = how.rank() == 0 ? most : how.rank();
    if (type.equals("cat")) {
      return LoraMerge.concatenate(modules, weights);
    }
    if (type.equals("svd")) {
      return LoraMerge.svd(modules, weights, kept);
    }
    if (type.endsWith("_svd")) {
      return ofDeltas(name, modules, weights, kept);
    }
    if (modules.stream().mapToInt(LoraModule::rank).distinct().count() > 1) {
      throw new DataException(
          "method "
              + type
              + " needs equal ranks, "
              + name
              + " has "
              + modules.stream().map(LoraModule::rank).toList()
              + "; use cat, svd"
              + (AdapterMerge.TYPES.contains(type + "_svd") ? " or " + type + "_svd" : ""));
    }
    return switch (type) {
      case "linear" -> LoraMerge.linear(modules, weights);
      case "lorahub" -> composed(name, modules, weights);
      default -> ofFactors(modules, weights);
    };
  }

  private static LoraModule composed(String name, List<LoraModule> modules, List<Double> weights) {
    try {
      return LoraHub.compose(modules, weights.stream().mapToDouble(Double::doubleValue).toArray());
    } catch (IllegalArgumentException e) {
      throw new DataException("method lorahub, " + name + ": " + e.getMessage(), e);
    }
  }

  private LoraModule ofFactors(List<LoraModule> modules, List<Double> weights) {
    LoraModule first = modules.get(0);
    List<Double> right = new ArrayList<>();
    List<Double> left = new ArrayList<>();
    for (int t = 0; t < modules.size(); t++) {
      double coefficient = weights.get(t) * modules.get(t).scaling();
      left.add(Math.sqrt(Math.abs(coefficient)));
      right.add(Math.signum(coefficient) * left.get(t));
    }
    float[] a = merge("lora_A", modules.stream().map(LoraModule::a).toList(), right);
    float[] b = merge("lora_B", modules.stream().map(LoraModule::b).toList(), left);
    return LoraModule.of(first.out(), first.rank(), first.in(), a, b, 1);
  }

  private LoraModule ofDeltas(
      String name, List<LoraModule> modules, List<Double> weights, int kept) {
    LoraModule first = modules.get(0);
    if (Math.min(first.in(), first.out()) > LARGEST_SIDE) {
      throw new DataException(
          name
              + " is "
              + first.out()
              + " x "
              + first.in()
              + ", too large to factorise; use svd, cat or "
              + how.type().replace("_svd", ""));
    }
    float[] delta = merge("delta", modules.stream().map(LoraModule::deltaWeight).toList(), weights);
    return LoraMerge.factorise(first.out(), first.in(), delta, kept);
  }

  private float[] merge(String name, List<float[]> values, List<Double> weights) {
    ParameterLayout layout = ParameterLayout.of(Map.of(name, List.of(values.get(0).length)));
    List<TaskVector> vectors = values.stream().map(v -> TaskVector.wrap(layout, v)).toList();
    double density = how.density();
    MergeMethod method =
        switch (how.type().replace("_svd", "")) {
          case "ties" -> new Ties(density, true, 1, Ties.Convention.HF_PEFT);
          case "dare_linear" -> dare(Combination.LINEAR);
          case "dare_ties" -> dare(Combination.TIES_HF);
          case "breadcrumbs" -> new Breadcrumbs(density, how.gamma(), 1, Combination.LINEAR);
          case "breadcrumbs_ties" -> new Breadcrumbs(density, how.gamma(), 1, Combination.TIES_HF);
          case "pcb" -> new PcbMerging(density, 1, true);
          case "magnitude_prune" ->
              (pruned, theirs) ->
                  new TaskArithmetic(1)
                      .merge(
                          pruned.stream().map(v -> Sparsify.trimPerTensor(v, density)).toList(),
                          theirs);
          default -> throw new IllegalStateException("no merge of vectors for " + how.type());
        };
    return method.merge(vectors, weights).toArray();
  }

  private MergeMethod dare(Combination combination) {
    return new Dare(how.density(), 1, combination, Rescale.PROBABILITY, how.seed());
  }
}
