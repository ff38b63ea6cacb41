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
 * @param bias whether a linear layer has a bias (a norm always has one)
 * @param origin what to do when the checkpoint lacks the layer
 */
public record ModuleSpec(String path, Kind kind, int in, int out, boolean bias, Origin origin) {

  /** What a layer computes. */
  public enum Kind {
    LINEAR,
    EMBEDDING,
    LAYER_NORM
  }

  /** What to do when the checkpoint lacks a layer. */
  public enum Origin {
    /** The base cannot do without it. */
    REQUIRED,
    /** Part of the task head; made up as identity weight and zero bias, and kept frozen. */
    IDENTITY,
    /** Part of the task head; starts random and must be trained. */
    FRESH
  }

  public static ModuleSpec linear(String path, int in, int out) {
    return new ModuleSpec(path, Kind.LINEAR, in, out, true, Origin.REQUIRED);
  }

  public static ModuleSpec embedding(String path, int rows, int size) {
    return new ModuleSpec(path, Kind.EMBEDDING, rows, size, false, Origin.REQUIRED);
  }

  public static ModuleSpec layerNorm(String path, int size) {
    return new ModuleSpec(path, Kind.LAYER_NORM, size, size, true, Origin.REQUIRED);
  }

  public ModuleSpec orElse(Origin other) {
    return new ModuleSpec(path, kind, in, out, bias, other);
  }

  /** Whether the layer belongs to the task head rather than to the pretrained base. */
  public boolean isHead() {
    return origin != Origin.REQUIRED;
  }

  /** Names and shapes of the layer's own tensors, {@code path.weight} first. */
  public Map<String, List<Integer>> tensors() {
    Map<String, List<Integer>> shapes = new LinkedHashMap<>();
    switch (kind) {
      case LINEAR -> shapes.put(path + ".weight", List.of(out, in));
      case EMBEDDING -> shapes.put(path + ".weight", List.of(in, out));
      case LAYER_NORM -> shapes.put(path + ".weight", List.of(out));
    }
    if (bias) {
      shapes.put(path + ".bias", List.of(out));
    }
    return shapes;
  }
}
