/**
 * Methods that add vectors, prompts or small layers to a model, or train its own biases and norms;
 * one file each, with what several share beside them.
 */
@NullMarked
package org.sparkpeft.core.peft.additive;

import org.jspecify.annotations.NullMarked;
