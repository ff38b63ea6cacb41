package org.sparkpeft.core.peft;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * A method laid out on a particular model. Immutable and free of tensors, so tasks share it. Only
 * {@link #shapes}, {@link #initialValues}, {@link #modifications} and {@link #fuse} must be
 * written; the rest has defaults for methods that are their parameters alone.
 */
public interface AttachedMethod {

  /**
   * Names and shapes of the trained tensors, as Hugging Face PEFT saves them but without the prefix
   * {@code base_model.model.}.
   */
  Map<String, List<Integer>> shapes();

  /**
   * What decides the method's effect beside its parameters, at the start of a run. Made once, on
   * the driver; the same bits for the same seed.
   */
  default MethodState initialState(long seed, BaseWeights base) {
    return MethodState.EMPTY;
  }

  /** Starting values of every tensor in {@link #shapes}: the same bits for the same seed. */
  Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base);

  /** Whether the model's outputs at the start are those of the base. */
  default boolean startsAsBase() {
    return true;
  }

  /**
   * What the method does in one forward pass. Terms to add to the loss go to {@link
   * TuningContext#addToLoss}.
   */
  List<Modification> modifications(MethodTensors tensors, TuningContext context);

  /**
   * Why several clients cannot share a forward pass, see {@link #modificationsByClient}; empty if
   * they can. Such a method's observer does nothing, and its effect is random in no way.
   */
  default Optional<String> whyOneByOne() {
    return Optional.of("it has no form for several clients at once");
  }

  /**
   * What the method does in one forward pass that several clients share, each with parameters of
   * its own on its own rows of the batch. Each client's outputs must be, up to rounding, those that
   * {@link #modifications} gives it alone. Not called where {@link #whyOneByOne} has a reason.
   *
   * @param tensors every parameter with the client in front, {@code [clients, ...]}; the state is
   *     the same for all and has no such dimension
   * @param rows which rows are whose
   */
  default List<Modification> modificationsByClient(
      MethodTensors tensors, ClientRows rows, TuningContext context) {
    throw new UnsupportedOperationException("clients of this method are trained one by one");
  }

  /**
   * Why a layer cannot be run a second time by itself, as {@code train.gradient_checkpointing}
   * does; empty if it can. It can where a modification computes the same whenever it is called with
   * the same input, and hands nothing from one layer of the model to the next.
   */
  default Optional<String> whyNotRecomputed() {
    return Optional.empty();
  }

  /**
   * Whether a token of a layer is treated by itself: what a modification of a linear layer, norm,
   * block or attention makes of it follows from this token and what is the same for its whole text,
   * not from its place or its neighbours. Of a last layer then only the tokens are computed that a
   * head reads. Not so where the loss has a term of all tokens.
   */
  default boolean isTokenwise() {
    return true;
  }

  /** Positions of the model that go to virtual tokens or prefixes instead of text. */
  default int virtualTokens() {
    return 0;
  }

  /** How a tensor of {@link #shapes} is treated. */
  default TensorRole role(String tensor) {
    return TensorRole.FACTOR;
  }

  /** How a tensor of a module trained in full is treated. */
  default TensorRole savedRole(String tensor) {
    return TensorRole.LINEAR;
  }

  /**
   * Watches a client's training.
   *
   * @param layout of all trained tensors, the method's and others
   */
  default StepObserver observer(MethodState state, TrainingSpan span, ParameterLayout layout) {
    return StepObserver.NONE;
  }

  /**
   * {@link #observer(MethodState, TrainingSpan, ParameterLayout)} for methods that compare with the
   * frozen weights.
   *
   * @param base the frozen weights; each call copies a tensor
   */
  default StepObserver observer(
      MethodState state, TrainingSpan span, ParameterLayout layout, BaseWeights base) {
    return observer(state, span, layout);
  }

  /** Decides ranks, masks and indices between two rounds, from what all clients reported. */
  default RoundDecision.Output decide(MethodState state, RoundDecision.Input input) {
    return new RoundDecision.Output(state, input.parameters());
  }

  /** Why the method cannot be folded into the base; empty if it can. */
  default Optional<String> whyNotFused() {
    return Optional.empty();
  }

  /**
   * Folds trained parameters into the base, in float32. Not called where {@link #whyNotFused} has a
   * reason.
   *
   * @return new values of the base tensors that change, by name
   */
  Map<String, float[]> fuse(ParameterVector parameters, MethodState state, BaseWeights base);

  /**
   * The method's tensors as an adapter file holds them, by their full names. By default the trained
   * ones; a method with a state adds what a reader cannot know.
   */
  default SortedMap<String, TensorData> save(ParameterVector parameters, MethodState state) {
    Map<String, TensorData> file = new LinkedHashMap<>();
    shapes()
        .forEach(
            (name, shape) -> {
              String full = AdapterTensors.PREFIX + name;
              file.put(full, TensorData.ofFloats(full, shape, parameters.tensor(name)));
            });
    return TensorData.byName(file.values());
  }

  /** What a file puts before the names of modules trained in full. */
  default String savedModulePrefix() {
    return AdapterTensors.PREFIX;
  }

  /**
   * Fields of {@code adapter_config.json} that follow from the model, such as sizes: written, and
   * refused when a file says otherwise.
   */
  default SortedMap<String, Object> modelFields() {
    return new TreeMap<>();
  }

  /** Fields of {@code adapter_config.json} that the state decides, such as learnt ranks. */
  default SortedMap<String, Object> savedFields(MethodState state) {
    return new TreeMap<>();
  }

  /**
   * What was saved.
   *
   * @param values of every tensor in {@link #shapes}
   */
  record Loaded(Map<String, float[]> values, MethodState state) {}

  /**
   * Takes what {@link #save} wrote, or Hugging Face PEFT did.
   *
   * @param base for what a file leaves out because it follows from the base
   * @throws org.sparkpeft.core.error.FormatException if tensors are missing or have another shape
   */
  default Loaded load(AdapterTensors file, BaseWeights base) {
    return new Loaded(file.takeAll(shapes()), MethodState.EMPTY);
  }

  /**
   * An adapter as LoRA on the untouched base.
   *
   * @param tensors by their names in the file
   */
  record AsLora(LoraConfig config, SortedMap<String, TensorData> tensors) {}

  /**
   * What was trained, for readers that know no method but LoRA; empty where it has no such form.
   * Modules trained in full are not part of it.
   */
  default Optional<AsLora> asLora(ParameterVector parameters, MethodState state) {
    return Optional.empty();
  }
}
