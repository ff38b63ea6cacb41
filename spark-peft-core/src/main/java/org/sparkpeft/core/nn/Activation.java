package org.sparkpeft.core.nn;

import ai.djl.ndarray.NDArray;
import java.util.Arrays;
import java.util.Optional;
import java.util.function.UnaryOperator;
import java.util.stream.Collectors;
import org.sparkpeft.core.engine.ElementwiseKernels;
import org.sparkpeft.core.engine.Scalars;

/** Element-wise functions under the names that Hugging Face configurations use. */
public enum Activation {
  /** {@code x Phi(x)} with the exact normal distribution function. */
  GELU("gelu", x -> x.getNDArrayInternal().gelu()),
  /** GELU's tanh approximation. */
  GELU_NEW("gelu_new", ElementwiseKernels::geluTanh),
  /** The same approximation under its other name. */
  GELU_PYTORCH_TANH("gelu_pytorch_tanh", ElementwiseKernels::geluTanh),
  /** {@code x sigmoid(1.702 x)}. */
  QUICK_GELU("quick_gelu", x -> Scalars.times(x, 1.702f).getNDArrayInternal().sigmoid().mul(x)),
  RELU("relu", x -> x.getNDArrayInternal().relu()),
  /** {@code x sigmoid(x)}. */
  SILU("silu", ElementwiseKernels::silu),
  /** SiLU under its other name. */
  SWISH("swish", ElementwiseKernels::silu),
  TANH("tanh", NDArray::tanh);

  private final String huggingFaceName;
  private final UnaryOperator<NDArray> function;

  Activation(String huggingFaceName, UnaryOperator<NDArray> function) {
    this.huggingFaceName = huggingFaceName;
    this.function = function;
  }

  public NDArray apply(NDArray x) {
    return function.apply(x);
  }

  public static Optional<Activation> named(String name) {
    return Arrays.stream(values()).filter(a -> a.huggingFaceName.equals(name)).findFirst();
  }

  /** All names, for error messages. */
  public static String names() {
    return Arrays.stream(values()).map(a -> a.huggingFaceName).collect(Collectors.joining(", "));
  }
}
