package org.sparkpeft.core.peft;

/**
 * How a modification enters the forward pass: the second axis of the unified view of He et al.
 * (2021, arXiv 2110.04366). The first is its function, the third its position, the path.
 */
public enum Insertion {
  /** Computed from the layer's input and added to its output: {@code h + f(x)}. */
  PARALLEL,
  /** Computed from the layer's output: {@code f(h)}. */
  SEQUENTIAL,
  /** The layer's output or input times a vector: {@code l * h}. */
  SCALED,
  /** Changes the layer's own tensors: {@code (W + d) x} or {@code (R W) x}. */
  WEIGHT,
  /** Put in front of the tokens, or of an attention's keys and values. */
  PREPENDED
}
