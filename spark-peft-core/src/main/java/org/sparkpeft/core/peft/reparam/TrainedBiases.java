package org.sparkpeft.core.peft.reparam;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.peft.AdapterTensors;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.BaseWeights;
import org.sparkpeft.core.peft.Insertion;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.MethodTensors;
import org.sparkpeft.core.peft.Modification;
import org.sparkpeft.core.peft.RoundDecision;
import org.sparkpeft.core.peft.StepObserver;
import org.sparkpeft.core.peft.TensorRole;
import org.sparkpeft.core.peft.TrainingSpan;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * A method that trains the biases of its layers too, {@code path.base_layer.bias [out]} in files:
 * Hugging Face's {@code bias} ending in {@code _only}. A bias enters linearly, so clients' average
 * exactly.
 */
record TrainedBiases(AttachedMethod method, List<ModuleSpec> layers) implements AttachedMethod {

  /** The method, with its layers' biases if the setting asks for them. */
  static AttachedMethod of(String bias, AttachedMethod method, List<ModuleSpec> layers) {
    return bias.equals("none")
        ? method
        : new TrainedBiases(method, layers.stream().filter(ModuleSpec::bias).toList());
  }

  private static String name(ModuleSpec layer) {
    return layer.path() + ".base_layer.bias";
  }

  private Map<String, List<Integer>> biases() {
    Map<String, List<Integer>> shapes = new LinkedHashMap<>();
    layers.forEach(layer -> shapes.put(name(layer), List.of(layer.out())));
    return shapes;
  }

  @Override
  public Map<String, List<Integer>> shapes() {
    Map<String, List<Integer>> shapes = new LinkedHashMap<>(method.shapes());
    shapes.putAll(biases());
    return shapes;
  }

  @Override
  public MethodState initialState(long seed, BaseWeights base) {
    return method.initialState(seed, base);
  }

  @Override
  public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
    Map<String, float[]> values = new LinkedHashMap<>(method.initialValues(seed, state, base));
    layers.forEach(layer -> values.put(name(layer), base.tensor(layer.path() + ".bias")));
    return values;
  }

  @Override
  public List<Modification> modifications(MethodTensors tensors, TuningContext context) {
    List<Modification> modifications = new ArrayList<>();
    for (ModuleSpec layer : layers) {
      modifications.add(
          new Modification.OnLinear(
              layer.path(),
              Insertion.WEIGHT,
              (below, linear, x) ->
                  below.apply(linear.withBias(tensors.parameter(name(layer))), x)));
    }
    modifications.addAll(method.modifications(tensors, context));
    return modifications;
  }

  @Override
  public TensorRole role(String tensor) {
    return biases().containsKey(tensor) ? TensorRole.LINEAR : method.role(tensor);
  }

  @Override
  public StepObserver observer(MethodState state, TrainingSpan span, ParameterLayout layout) {
    return method.observer(state, span, layout);
  }

  @Override
  public RoundDecision.Output decide(MethodState state, RoundDecision.Input input) {
    return method.decide(state, input);
  }

  @Override
  public Optional<String> whyNotFused() {
    return method.whyNotFused();
  }

  @Override
  public Map<String, float[]> fuse(
      ParameterVector parameters, MethodState state, BaseWeights base) {
    Map<String, float[]> fused = new LinkedHashMap<>(method.fuse(parameters, state, base));
    layers.forEach(
        layer -> fused.put(layer.path() + ".bias", parameters.tensor(name(layer)).clone()));
    return fused;
  }

  @Override
  public SortedMap<String, TensorData> save(ParameterVector parameters, MethodState state) {
    Map<String, TensorData> file = new TreeMap<>(method.save(parameters, state));
    biases()
        .forEach(
            (name, shape) -> {
              String full = AdapterTensors.PREFIX + name;
              file.put(full, TensorData.ofFloats(full, shape, parameters.tensor(name)));
            });
    return TensorData.byName(file.values());
  }

  @Override
  public SortedMap<String, Object> savedFields(MethodState state) {
    return method.savedFields(state);
  }

  @Override
  public Loaded load(AdapterTensors file, BaseWeights base) {
    Loaded loaded = method.load(file, base);
    Map<String, float[]> values = new LinkedHashMap<>(loaded.values());
    values.putAll(file.takeAll(biases()));
    return new Loaded(values, loaded.state());
  }
}
