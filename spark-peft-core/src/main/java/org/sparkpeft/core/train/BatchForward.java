package org.sparkpeft.core.train;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import java.util.Map;
import org.sparkpeft.core.peft.TuningContext;

/** From a batch and the trained tensors to what the objective judges. */
interface BatchForward {
  /**
   * @param views the trained tensors by name
   * @return the model's outputs, owned by {@code step}
   */
  Outputs outputs(
      NDManager step, Map<String, NDArray> views, ExampleBatch batch, TuningContext context);
}
