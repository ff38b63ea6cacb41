package org.sparkpeft.core.model;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * One layer of a model: what a parameter-efficient method needs to know to lay itself out.
 *
 * @param path Hugging Face's path in the task's model class
 * @param kind what the layer computes
 * @param in inputs of a linear layer, rows of an embedding, size of a norm
 * @param out outputs of a linear layer, row length of an embedding, size of a norm
 * @param bias whether there is a bias
 * @param origin what to do when the checkpoint lacks the layer
 * @param storage how the checkpoint holds the layer
 */
public record ModuleSpec(
    String path, Kind kind, int in, int out, boolean bias, Origin origin, Storage storage) {

  /** What a layer computes. */
  public enum Kind {
    LINEAR,
    EMBEDDING,
    /** A layer norm, or one by the root mean square. */
    LAYER_NORM,
    /** A tensor without a layer, such as a class token; its name is the path. */
    TENSOR
  }

  /** What to do when the checkpoint lacks a layer. */
  public enum Origin {
    /** The base cannot do without it. */
    REQUIRED,
    /**
     * Part of the task head; made up as identity weight (of ones, for a norm) and zero bias, or a
     * tensor of zeros, and kept frozen.
     */
    IDENTITY,
    /** Part of the task head; starts random and must be trained. */
    FRESH
  }

  /**
   * How a checkpoint holds a layer's weight.
   *
   * @param shape its shape there, for example {@code [out, channels, height, width]} of a
   *     convolution that is computed as a linear layer; empty for the layer's own
   * @param transposed whether it is stored {@code [in, out]}, as GPT-2's are
   * @param tiedTo path of the embedding whose table is the weight when the checkpoint has none of
   *     its own; empty when that is an error
   */
  public record Storage(List<Integer> shape, boolean transposed, String tiedTo) {
    static final Storage PLAIN = new Storage(List.of(), false, "");

    public Storage {
      shape = List.copyOf(shape);
    }
  }

  /** A layer that is stored as it is used. */
  public ModuleSpec(String path, Kind kind, int in, int out, boolean bias, Origin origin) {
    this(path, kind, in, out, bias, origin, Storage.PLAIN);
  }

  /** A linear layer with a bias. */
  public static ModuleSpec linear(String path, int in, int out) {
    return linear(path, in, out, true);
  }

  public static ModuleSpec linear(String path, int in, int out, boolean bias) {
    return new ModuleSpec(path, Kind.LINEAR, in, out, bias, Origin.REQUIRED);
  }

  public static ModuleSpec embedding(String path, int rows, int size) {
    return new ModuleSpec(path, Kind.EMBEDDING, rows, size, false, Origin.REQUIRED);
  }

  public static ModuleSpec layerNorm(String path, int size) {
    return new ModuleSpec(path, Kind.LAYER_NORM, size, size, true, Origin.REQUIRED);
  }

  public static ModuleSpec rmsNorm(String path, int size) {
    return new ModuleSpec(path, Kind.LAYER_NORM, size, size, false, Origin.REQUIRED);
  }

  /** A tensor without a layer; one without dimensions is used as {@code [1]}. */
  public static ModuleSpec tensor(String path, List<Integer> shape) {
    int size = shape.stream().reduce(1, Math::multiplyExact);
    int last = shape.isEmpty() ? 1 : shape.get(shape.size() - 1);
    Storage storage = new Storage(shape, false, "");
    return new ModuleSpec(path, Kind.TENSOR, size / last, last, false, Origin.REQUIRED, storage);
  }

  public ModuleSpec orElse(Origin other) {
    return new ModuleSpec(path, kind, in, out, bias, other, storage);
  }

  /** Stored {@code [in, out]}. */
  ModuleSpec transposed() {
    return stored(new Storage(storage.shape, true, storage.tiedTo));
  }

  /** Stored with more dimensions than it is used with. */
  ModuleSpec storedAs(List<Integer> shape) {
    return stored(new Storage(shape, storage.transposed, storage.tiedTo));
  }

  /** Takes the table of an embedding when the checkpoint has no weight for it. */
  ModuleSpec tiedTo(String embedding) {
    return stored(new Storage(storage.shape, storage.transposed, embedding));
  }

  private ModuleSpec stored(Storage other) {
    return new ModuleSpec(path, kind, in, out, bias, origin, other);
  }

  /** Whether the checkpoint holds the layer as a convolution. */
  public boolean isConvolution() {
    return kind == Kind.LINEAR && !storage.shape.isEmpty();
  }

  /** Whether the layer belongs to the task head rather than to the pretrained base. */
  public boolean isHead() {
    return origin != Origin.REQUIRED;
  }

  /** Names and shapes of the layer's own tensors as they are used, {@code path.weight} first. */
  public Map<String, List<Integer>> tensors() {
    Map<String, List<Integer>> shapes = new LinkedHashMap<>();
    switch (kind) {
      case LINEAR -> shapes.put(path + ".weight", List.of(out, in));
      case EMBEDDING -> shapes.put(path + ".weight", List.of(in, out));
      case LAYER_NORM -> shapes.put(path + ".weight", List.of(out));
      case TENSOR -> shapes.put(path, storage.shape.isEmpty() ? List.of(1) : storage.shape);
    }
    if (bias) {
      shapes.put(path + ".bias", List.of(out));
    }
    return shapes;
  }

  /** The shape of one of {@link #tensors} in a checkpoint. */
  public List<Integer> storedShape(String tensor) {
    if (kind == Kind.TENSOR) {
      return storage.shape;
    }
    if (!tensor.equals(path + ".weight")) {
      return used(tensor);
    }
    if (!storage.shape.isEmpty()) {
      return storage.shape;
    }
    return storage.transposed ? List.of(in, out) : used(tensor);
  }

  private List<Integer> used(String tensor) {
    List<Integer> shape = tensors().get(tensor);
    if (shape == null) {
      throw new IllegalArgumentException(path + " has no tensor named " + tensor);
    }
    return shape;
  }

  /** The values of one of {@link #tensors} in the order in which a checkpoint holds them. */
  public float[] asStored(String tensor, float[] values) {
    return storage.transposed && tensor.equals(path + ".weight")
        ? FrozenLayers.transposed(values, out, in)
        : values;
  }
}
