package org.sparkpeft.core.engine;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;
import org.sparkpeft.core.vector.DynamicMap;
import org.sparkpeft.core.vector.Nf4;

/**
 * A frozen matrix {@code [out, in]} in 4 bits, {@link Nf4}. Each use unpacks it to float32, to the
 * very values of {@link Nf4#dequantise}, and multiplies. Differentiable by the input. Immutable; may
 * be used by several threads.
 */
public final class Nf4Tensor {

  /** What codes mean: the same for all matrices of a model. */
  public static final class Codebook {
    private final NDManager manager;
    private final NDArray pairs;
    private final NDArray scales;

    private Codebook(NDManager manager, NDArray pairs, NDArray scales) {
      this.manager = manager;
      this.pairs = pairs;
      this.scales = scales;
    }

    /**
     * @param manager owner of it and of the matrices
     */
    public static Codebook in(NDManager manager) {
      float[] table = Nf4.table();
      float[] pairs = new float[512]; // both numbers of each byte
      for (int code = 0; code < 256; code++) {
        pairs[2 * code] = table[code >> 4];
        pairs[2 * code + 1] = table[code & 0xF];
      }
      return new Codebook(
          manager,
          TorchEngine.tensor(manager, pairs, List.of(256, 2)),
          TorchEngine.tensor(manager, DynamicMap.table(), List.of(256, 1)));
    }
  }

  private final int out;
  private final int in;
  private final NDArray[] parts;
  private final ScriptKernel unpack;
  private final ScriptKernel linear;
  private final ScriptKernel linearWithBias;

  private Nf4Tensor(int out, int in, NDArray[] parts, String unpacking) {
    this.out = out;
    this.in = in;
    this.parts = parts;
    boolean nested = parts.length > 3;
    this.unpack = ScriptKernel.shared(source("", nested, "", unpacking, "weight"));
    this.linear =
        ScriptKernel.shared(source("x", nested, "", unpacking, "torch.linear(x, weight)"));
    this.linearWithBias =
        ScriptKernel.shared(source("x", nested, "bias", unpacking, "torch.linear(x, weight, bias)"));
  }

  /**
   * Copies a quantised matrix into the engine.
   *
   * @param numbers row-major, {@code out * in} of them
   */
  public static Nf4Tensor of(Codebook codebook, Nf4 numbers, int out, int in) {
    if (numbers.count() != Math.multiplyExact(out, in)) {
      throw new IllegalArgumentException(
          numbers.count() + " numbers are no matrix " + out + " x " + in);
    }
    NDManager manager = codebook.manager;
    int blocks = numbers.scales().length;
    byte[] packed = Arrays.copyOf(numbers.packed(), blocks * numbers.block() / 2); // whole blocks
    NDArray bytes = TorchEngine.tensor(manager, packed);
    String weight = unpacking(blocks, numbers, out, in);
    if (numbers.storedScales().isEmpty()) {
      NDArray scales = TorchEngine.tensor(manager, numbers.scales(), List.of(blocks, 1));
      return new Nf4Tensor(out, in, new NDArray[] {codebook.pairs, bytes, scales}, weight);
    }
    Nf4.Nested nested = numbers.storedScales().get();
    int groups = nested.scales().length;
    NDArray codes =
        TorchEngine.tensor(manager, Arrays.copyOf(nested.codes(), groups * Nf4.NESTED_BLOCK));
    return new Nf4Tensor(
        out,
        in,
        new NDArray[] {
          codebook.pairs,
          bytes,
          codebook.scales,
          codes,
          TorchEngine.tensor(manager, nested.scales(), List.of(groups, 1)),
          TorchEngine.tensor(manager, new float[] {nested.offset()}, List.of(1))
        },
        weight);
  }

  /** Statements from the parts to {@code weight}. */
  private static String unpacking(int blocks, Nf4 numbers, int out, int in) {
    StringBuilder code = new StringBuilder();
    if (numbers.storedScales().isPresent()) {
      int groups = numbers.storedScales().get().scales().length;
      line(code, "looked = torch.embedding(levels, torch.to(codes, 3))");
      line(
          code, "grouped = torch.view(looked, [%d, %d])".formatted(groups, Nf4.NESTED_BLOCK));
      line(code, "outer = torch.add_(torch.mul_(grouped, groups), offset)");
      line(
          code,
          "scales = torch.slice(torch.view(outer, [-1, 1]), 0, 0, %d)".formatted(blocks));
    }
    line(code, "values = torch.embedding(pairs, torch.to(packed, 3))");
    line(
        code,
        "scaled = torch.mul_(torch.view(values, [%d, %d]), scales)"
            .formatted(blocks, numbers.block()));
    line(
        code,
        "flat = torch.slice(torch.view(scaled, [-1]), 0, 0, %d)".formatted(numbers.count()));
    line(code, "weight = torch.view(flat, [%d, %d])".formatted(out, in));
    return code.toString();
  }

  private static void line(StringBuilder code, String statement) {
    code.append("    ").append(statement).append('\n');
  }

  private static String source(
      String first, boolean nested, String last, String statements, String result) {
    String parts = nested ? "pairs packed levels codes groups offset" : "pairs packed scales";
    StringBuilder code = new StringBuilder("  def forward(self: __torch__.Kernel");
    for (String argument : (first + " " + parts + " " + last).trim().split(" ")) {
      code.append(",\n    ").append(argument).append(": Tensor");
    }
    return code.append(") -> Tensor:\n")
        .append(statements)
        .append("    return ")
        .append(result)
        .append('\n')
        .toString();
  }

  /**
   * {@code x Wt + b}.
   *
   * @param x {@code [..., in]}
   * @param bias {@code [out]}
   * @return {@code [..., out]}, owned by {@code x}'s manager
   */
  public NDArray linear(NDArray x, @Nullable NDArray bias) {
    NDList arguments = new NDList(x);
    arguments.addAll(Arrays.asList(parts));
    if (bias == null) {
      return linear.run(arguments.toArray(new NDArray[0]));
    }
    arguments.add(bias);
    return linearWithBias.run(arguments.toArray(new NDArray[0]));
  }

  /** The matrix in float32, owned by {@code step}. */
  public NDArray unpacked(NDManager step) {
    NDArray weight = unpack.run(parts);
    weight.attach(step);
    return weight;
  }

  /** Bytes of the engine's memory that it takes, without the codebook. */
  public long bytes() {
    return parts.length > 3
        ? parts[1].size() + parts[3].size() + 4 * (parts[4].size() + 1)
        : parts[1].size() + 4 * parts[2].size();
  }
}
