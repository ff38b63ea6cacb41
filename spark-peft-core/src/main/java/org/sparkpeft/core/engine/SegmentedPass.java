package org.sparkpeft.core.engine;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import java.util.function.BiFunction;

/**
 * A forward pass whose layers are differentiated one by one, from the last to the first, so that
 * something can be done before each one's turn. A layer's output is a leaf; gradients add up in it
 * until its layer's turn comes.
 */
sealed interface SegmentedPass permits Checkpoints, UnpackedLayers {

  /** As {@link LayerScope#run(NDManager, NDArray, BiFunction)}. */
  NDArray run(NDManager step, NDArray input, BiFunction<NDManager, NDArray, NDArray> layer);

  boolean isEmpty();

  /** Takes the layers' outputs back from whoever has them now. */
  void keepOutputs();

  /** Goes on from the outputs' gradients to those of everything that the layers read. */
  void backward();
}
