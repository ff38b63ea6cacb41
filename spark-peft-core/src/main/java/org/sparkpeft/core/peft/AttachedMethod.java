package org.sparkpeft.core.peft;

import ai.djl.ndarray.NDArray;
import java.util.List;
import java.util.Map;
import org.sparkpeft.core.model.Tuning;
import org.sparkpeft.core.vector.ParameterVector;

/** A method laid out on a particular model. Immutable and free of tensors, so tasks share it. */
public interface AttachedMethod {

  /**
   * Names and shapes of the method's tensors, as Hugging Face PEFT saves them but without the
   * prefix {@code base_model.model.}.
   */
  Map<String, List<Integer>> shapes();

  /** Starting values of every tensor in {@link #shapes}: the same bits for the same seed. */
  Map<String, float[]> initialValues(long seed, BaseWeights base);

  /**
   * The method's effect on one forward pass.
   *
   * @param parameters the tensors of {@link #shapes} (and perhaps others), as views of the flat
   *     leaf
   */
  Tuning tuning(Map<String, NDArray> parameters, TuningContext context);

  /**
   * Folds trained parameters into the base, in float32.
   *
   * @return new values of the base tensors that change, by name
   * @throws IllegalStateException if the method cannot be folded in
   */
  Map<String, float[]> fuse(ParameterVector parameters, BaseWeights base);
}
