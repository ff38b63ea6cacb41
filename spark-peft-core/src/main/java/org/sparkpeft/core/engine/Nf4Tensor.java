package org.sparkpeft.core.engine;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;
import org.sparkpeft.core.vector.DynamicMap;
import org.sparkpeft.core.vector.Nf4;

/**
 * A frozen matrix {@code [out, in]} in 4 bits, {@link Nf4}. Each use unpacks it to float32, to the
 * very values of {@link Nf4#dequantise}, and multiplies. Differentiable by the input. Immutable;
 * may be used by several threads.
 *
 * <p>Autograd keeps the unpacked matrix for the backward pass, which is as much memory as packing
 * saved, unless the layer runs in a {@link GradientScope} that keeps {@link
 * GradientScope.Keeps#ALL_BUT_WEIGHTS} or less.
 */
public final class Nf4Tensor {

  /** What codes mean: the same for all matrices of a model. */
  public static final class Codebook {
    private final NDManager manager;
    private final NDArray pairs;
    private final NDArray levels;

    private Codebook(NDManager manager, NDArray pairs, NDArray levels) {
      this.manager = manager;
      this.pairs = pairs;
      this.levels = levels;
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

  /**
   * The code that unpacks matrices of one form.
   *
   * @param blocks scales
   * @param block numbers of one scale
   * @param groups scales of 256 scales in 8 bits; 0 where they are float32
   */
  private record Form(int out, int in, int blocks, int block, int groups) {
    private static final String BLOCKWISE =
        "torch.view(torch.embedding(pairs, torch.to(packed, 3)), %s)";

    private String parts() {
      return groups == 0 ? "pairs packed scales" : "pairs packed levels codes outer offset";
    }

    private int count() {
      return Math.multiplyExact(out, in);
    }

    private String source(String before, String after, List<String> statements, String result) {
      StringBuilder code = new StringBuilder("  def forward(self: __torch__.Kernel");
      for (String argument : (before + " " + parts() + " " + after).trim().split(" ")) {
        code.append(",\n    ").append(argument).append(": Tensor");
      }
      code.append(") -> Tensor:\n");
      statements.forEach(statement -> code.append("    ").append(statement).append('\n'));
      return code.append("    return ").append(result).append('\n').toString();
    }

    /** Makes {@code scales [blocks, 1]}. */
    private List<String> scales() {
      return groups == 0
          ? List.of()
          : List.of(
              "looked = torch.view(torch.embedding(levels, torch.to(codes, 3)), [%d, %d])"
                  .formatted(groups, Nf4.NESTED_BLOCK),
              "summed = torch.add_(torch.mul_(looked, outer), offset)",
              "scales = torch.slice(torch.view(summed, [-1, 1]), 0, 0, %d)".formatted(blocks));
    }

    /** The {@code count} numbers at the beginning of whole blocks, as a matrix. */
    private String matrix(String numbers) {
      return "torch.view(torch.slice(torch.view(%s, [-1]), 0, 0, %d), [%d, %d])"
          .formatted(numbers, count(), out, in);
    }

    /** With {@code weight} for the result. */
    ScriptKernel kernel(String before, String after, String result) {
      String blockwise = "[%d, %d]".formatted(blocks, block);
      List<String> statements = new ArrayList<>(scales());
      statements.add("numbers = torch.mul_(" + BLOCKWISE.formatted(blockwise) + ", scales)");
      statements.add("weight = " + matrix("numbers"));
      return ScriptKernel.shared(source(before, after, statements, result));
    }

    /** Into memory that is there, {@code [blocks * block]}, unseen by autograd. */
    ScriptKernel into() {
      String blockwise = "[%d, %d]".formatted(blocks, block);
      List<String> statements = new ArrayList<>(scales());
      statements.add("place = torch.view(ops.prim.data(room), " + blockwise + ")");
      statements.add("_0 = torch.mul(" + BLOCKWISE.formatted(blockwise) + ", scales, out=place)");
      return ScriptKernel.shared(source("room", "", statements, matrix("room")));
    }
  }

  private final NDArray[] parts;
  private final int room;
  private final long bytes;
  private final ScriptKernel unpacked;
  private final ScriptKernel into;
  private final ScriptKernel linear;
  private final ScriptKernel linearWithBias;

  private Nf4Tensor(NDArray[] parts, Form form, long bytes) {
    this.parts = parts;
    this.room = form.blocks * form.block;
    this.bytes = bytes;
    this.unpacked = form.kernel("", "", "weight");
    this.into = form.into();
    this.linear = form.kernel("x", "", "torch.linear(x, weight)");
    this.linearWithBias = form.kernel("x", "bias", "torch.linear(x, weight, bias)");
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
    if (numbers.storedScales().isEmpty()) {
      NDArray scales = TorchEngine.tensor(manager, numbers.scales(), List.of(blocks, 1));
      return new Nf4Tensor(
          new NDArray[] {codebook.pairs, bytes, scales},
          new Form(out, in, blocks, numbers.block(), 0),
          packed.length + 4L * blocks);
    }
    Nf4.Nested nested = numbers.storedScales().get();
    int groups = nested.scales().length;
    byte[] codes = Arrays.copyOf(nested.codes(), groups * Nf4.NESTED_BLOCK);
    return new Nf4Tensor(
        new NDArray[] {
          codebook.pairs,
          bytes,
          codebook.levels,
          TorchEngine.tensor(manager, codes),
          TorchEngine.tensor(manager, nested.scales(), List.of(groups, 1)),
          TorchEngine.tensor(manager, new float[] {nested.offset()}, List.of(1))
        },
        new Form(out, in, blocks, numbers.block(), groups),
        packed.length + codes.length + 4L * (groups + 1));
  }

  /**
   * {@code x Wt + b}.
   *
   * @param x {@code [..., in]}
   * @param bias {@code [out]}
   * @return {@code [..., out]}, owned by {@code x}'s manager
   */
  public NDArray linear(NDArray x, @Nullable NDArray bias) {
    if (GradientScope.segments() instanceof UnpackedLayers layers) {
      NDArray weight = layers.unpacked(this);
      if (weight != null) {
        return x.getNDArrayInternal().linear(x, weight, bias).singletonOrThrow();
      }
    }
    return bias == null ? linear.run(with(x)) : linearWithBias.run(with(x, bias));
  }

  /** The arguments of a kernel: what comes first, the matrix's parts, what comes last. */
  private NDArray[] with(NDArray first, NDArray... last) {
    NDArray[] all = new NDArray[1 + parts.length + last.length];
    all[0] = first;
    System.arraycopy(parts, 0, all, 1, parts.length);
    System.arraycopy(last, 0, all, 1 + parts.length, last.length);
    return all;
  }

  /** The matrix in float32, owned by {@code step}. */
  public NDArray unpacked(NDManager step) {
    NDArray weight = unpacked.run(parts);
    weight.attach(step);
    return weight;
  }

  /** Numbers that {@link #unpackInto} needs room for. */
  int room() {
    return room;
  }

  /**
   * Unpacks over what is there, of which a recorded graph is not told.
   *
   * @param place {@code [room]}
   * @return the matrix {@code [out, in]}, a view of it
   */
  NDArray unpackInto(NDArray place) {
    return into.run(with(place));
  }

  /** Bytes of the engine's memory that it takes, without the codebook. */
  public long bytes() {
    return bytes;
  }
}
