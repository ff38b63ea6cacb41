package org.sparkpeft.core.model;

import java.io.Serializable;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.vector.Nf4;

/**
 * In how many bits a frozen base is held. What is trained, biases, norms and everything that flows
 * between layers are float32 in each form, and so is a task head.
 *
 * @param type what most numbers are
 * @param blocksize of NF4: weights that share a scale, a power of 2 in 32..4096; else 0
 * @param doubleQuant of NF4: whether scales are 8-bit codes
 */
public record WeightForm(Type type, int blocksize, boolean doubleQuant) implements Serializable {

  /** Values of {@code model.dtype}. */
  public enum Type {
    FLOAT32,
    /** Linear layers and embeddings, products included. */
    BFLOAT16,
    FLOAT16,
    /**
     * Linear layers in 4-bit NormalFloat (QLoRA, Dettmers et al. 2023, arXiv 2305.14314),
     * multiplied in float32. Embeddings, the layer over the vocabulary, which often is an
     * embedding's table, and convolutions, where 4 bits cost more than they save, are {@link
     * #BFLOAT16}, in which checkpoints mostly have them.
     */
    NF4
  }

  public static final WeightForm FLOAT32 = new WeightForm(Type.FLOAT32, 0, false);

  public WeightForm {
    boolean nf4 = type == Type.NF4;
    new Problems()
        .require(
            nf4 ? Nf4.isBlock(blocksize) : blocksize == 0,
            "blocksize",
            blocksize,
            nf4 ? "must be a power of 2 in 32..4096; usual is 64" : "is for nf4")
        .throwIfAny();
  }

  /** NF4 in blocks of so many weights. */
  public static WeightForm nf4(int blocksize, boolean doubleQuant) {
    return new WeightForm(Type.NF4, blocksize, doubleQuant);
  }

  /**
   * The form of that name, of {@code nf4} the paper's: blocks of 64, scales in 8 bits.
   *
   * @throws ConfigException if there is none
   */
  public static WeightForm named(String dtype) {
    return find(dtype)
        .orElseThrow(
            () ->
                new ConfigException(
                    "model.dtype",
                    "must be one of " + String.join(", ", names()) + ", got " + dtype));
  }

  private static Optional<WeightForm> find(String dtype) {
    return Arrays.stream(Type.values())
        .filter(type -> name(type).equals(dtype))
        .findFirst()
        .map(type -> type == Type.NF4 ? nf4(Nf4.BLOCK, true) : new WeightForm(type, 0, false));
  }

  /** Values of {@code model.dtype}. */
  public static List<String> names() {
    return Arrays.stream(Type.values()).map(WeightForm::name).toList();
  }

  private static String name(Type type) {
    return type.name().toLowerCase(Locale.ROOT);
  }

  /** As in {@code model.dtype}. */
  public String dtype() {
    return name(type);
  }

  /**
   * What the weight of one module is held in.
   *
   * @param output path of the layer over the vocabulary
   */
  Type of(ModuleSpec module, String output) {
    boolean linear = module.kind() == ModuleSpec.Kind.LINEAR && !module.isHead();
    if (!linear && module.kind() != ModuleSpec.Kind.EMBEDDING) {
      return Type.FLOAT32;
    }
    boolean packed =
        linear
            && !module.isConvolution()
            && !module.path().equals(output)
            && module.storage().tiedTo().isEmpty();
    return type == Type.NF4 && !packed ? Type.BFLOAT16 : type;
  }

  @Override
  public String toString() {
    return type == Type.NF4
        ? "nf4 in blocks of " + blocksize + (doubleQuant ? ", double quantised" : "")
        : dtype();
  }
}
