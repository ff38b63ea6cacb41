package org.sparkpeft.core.model;

import ai.djl.ndarray.NDManager;

/**
 * One architecture with the sizes of one {@code config.json}: which layers it has, known without
 * any weights, and what it computes with them.
 */
interface Architecture {

  /** Hugging Face's {@code base_model_prefix}, which checkpoints of the bare model omit. */
  String prefix();

  ModelSizes sizes();

  /**
   * The layers with a head on top.
   *
   * @throws org.sparkpeft.core.error.ConfigException if there is no such head for this model
   */
  ModuleTree modules(HeadConfig head);

  /**
   * The computation over loaded layers.
   *
   * @param manager owner of the model, for kernels
   */
  Network network(HeadConfig head, FrozenLayers layers, NDManager manager);
}
