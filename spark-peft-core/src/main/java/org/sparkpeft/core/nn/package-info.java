/** Layers as plain functions of tensors: frozen weights in, activations out, no state. */
@NullMarked
package org.sparkpeft.core.nn;

import org.jspecify.annotations.NullMarked;
