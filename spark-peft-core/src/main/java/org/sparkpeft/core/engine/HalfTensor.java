package org.sparkpeft.core.engine;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * A frozen tensor of 16-bit numbers. DJL knows bfloat16 by name only, so the tensor stays in here;
 * what comes in and goes out is float32. Differentiable by the input, never by the tensor, of which
 * the engine keeps no wider copy for the backward pass. Immutable; may be used by several threads.
 *
 * <p>Products are made of 16-bit numbers, summed in float32 and rounded to 16 bits once. With
 * instructions for it (for bfloat16 AVX512-BF16 or AMX, for float16 AVX512-FP16 or AMX-FP16) a
 * processor is as fast as in float32 or faster; others compute the same, slowly.
 */
public final class HalfTensor {

  /** How a number is laid out in 16 bits. */
  public enum Type {
    /** 8 bits of exponent, 8 of precision. */
    BFLOAT16(15),
    /** 5 bits of exponent, 11 of precision; nothing above 65504. */
    FLOAT16(5);

    private final String narrowed;
    private final String linear;
    private final String linearWithBias;

    /**
     * @param code of the engine, {@code c10/core/ScalarType.h}
     */
    Type(int code) {
      this.narrowed = method("x", "torch.to(x, " + code + ")");
      String product = "torch.linear(torch.to(x, " + code + "), weight)";
      this.linear = method("x, weight", "torch.to(" + product + ", " + FLOAT32 + ")");
      this.linearWithBias = method("x, weight, bias", "torch.add(" + product + ", bias)");
    }
  }

  private static final int FLOAT32 = 6;
  private static final String WIDENED = method("x", "torch.to(x, " + FLOAT32 + ")");
  private static final String ROWS =
      method("ids, table", "torch.to(torch.embedding(table, ids), " + FLOAT32 + ")");

  private final Type type;
  private final NDArray tensor;

  private HalfTensor(Type type, NDArray tensor) {
    this.type = type;
    this.tensor = tensor;
  }

  private static String method(String arguments, String result) {
    StringBuilder source = new StringBuilder("  def forward(self: __torch__.Kernel");
    for (String argument : arguments.split(", ")) {
      source.append(",\n    ").append(argument).append(": Tensor");
    }
    return source.append(") -> Tensor:\n    return ").append(result).append('\n').toString();
  }

  /**
   * Rounds numbers to the nearest.
   *
   * @param manager owner of the tensor
   * @param shape dimensions whose product is {@code values.length}
   */
  public static HalfTensor of(NDManager manager, float[] values, List<Integer> shape, Type type) {
    try (NDArray wide = TorchEngine.tensor(manager, values, shape)) {
      return new HalfTensor(type, ScriptKernel.shared(type.narrowed).run(wide));
    }
  }

  public Type type() {
    return type;
  }

  /**
   * {@code x Wt + b}.
   *
   * @param x float32 {@code [..., in]}
   * @param bias float32 {@code [out]}
   * @return float32 {@code [..., out]}, owned by {@code x}'s manager
   */
  public NDArray linear(NDArray x, @Nullable NDArray bias) {
    return bias == null
        ? ScriptKernel.shared(type.linear).run(x, tensor)
        : ScriptKernel.shared(type.linearWithBias).run(x, tensor, bias);
  }

  /**
   * Rows of a table.
   *
   * @param ids integers {@code [...]}
   * @return float32 {@code [..., size]}, owned by {@code ids}' manager
   */
  public NDArray rows(NDArray ids) {
    return ScriptKernel.shared(ROWS).run(ids, tensor);
  }

  /** The same numbers in float32, owned by {@code step}. */
  public NDArray widened(NDManager step) {
    NDArray wide = ScriptKernel.shared(WIDENED).run(tensor);
    wide.attach(step);
    return wide;
  }

  /** Bytes of the engine's memory that it takes. */
  public long bytes() {
    return 2 * tensor.size();
  }
}
