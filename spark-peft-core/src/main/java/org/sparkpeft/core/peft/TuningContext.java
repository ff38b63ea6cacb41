package org.sparkpeft.core.peft;

import ai.djl.ndarray.NDManager;
import org.sparkpeft.core.random.Philox;

/**
 * What a method may use in one forward pass.
 *
 * @param manager owner of everything made in the step
 * @param training whether regularisation such as dropout applies
 * @param random random numbers of this step alone
 */
public record TuningContext(NDManager manager, boolean training, Philox random) {}
