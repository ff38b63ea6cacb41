package org.sparkpeft.core.train;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import org.sparkpeft.core.engine.FlatParameters;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.peft.MethodTensors;
import org.sparkpeft.core.peft.Modification;
import org.sparkpeft.core.peft.SavedModules;
import org.sparkpeft.core.peft.TuningContext;

/**
 * An {@link AdapterStack} in the engine, frozen: no gradient flows into it, and nothing in it is
 * random. Belongs to one thread.
 */
final class LoadedStack {

  /**
   * @param values keeps the memory that {@code tensors} are views of
   * @param given modules trained in full that are taken from this adapter
   */
  private record Loaded(
      AdapterStack.Layer layer,
      FlatParameters values,
      Map<String, NDArray> parameters,
      MethodTensors tensors,
      SavedModules given) {}

  private final List<Loaded> loaded = new ArrayList<>();

  /**
   * @param manager owner of the tensors
   * @param given modules trained in full that come from elsewhere
   */
  LoadedStack(NDManager manager, AdapterStack stack, List<ModuleSpec> given) {
    Map<String, String> owners =
        stack.moduleOwners(given.stream().map(ModuleSpec::path).collect(Collectors.toSet()));
    for (AdapterStack.Layer layer : stack.active()) {
      FlatParameters flat = new FlatParameters(layer.model().layout());
      flat.set(layer.values().toArray());
      Map<String, NDArray> views = flat.views(flat.leaf(manager, false));
      List<ModuleSpec> own =
          layer.model().saved().modules().stream()
              .filter(module -> layer.name().equals(owners.get(module.path())))
              .toList();
      loaded.add(
          new Loaded(
              layer,
              flat,
              views,
              new MethodTensors(views, MethodTensors.load(manager, layer.model().state())),
              new SavedModules(own, Set.of(), 0)));
    }
  }

  /** Modules trained in full, which take the place of the base's. */
  List<Modification> modules() {
    return loaded.stream()
        .flatMap(each -> each.given().modifications(each.parameters()).stream())
        .toList();
  }

  /** What the methods do, innermost first. */
  List<Modification> methods(TuningContext step) {
    TuningContext context = TuningContext.inference(step.manager(), step.batch());
    List<Modification> all = new ArrayList<>();
    for (Loaded each : loaded) {
      float weight = each.layer().weight();
      for (Modification one :
          each.layer().model().method().modifications(each.tensors(), context)) {
        all.add(weight == 1 ? one : one.weighted(weight));
      }
    }
    return all;
  }
}
