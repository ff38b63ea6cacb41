/**
 * Methods that train a chosen part of the base's own entries: sparse deltas, whole tensors in turn,
 * and edits. What is trained is always the difference to the base, so weight decay pulls towards
 * the pretrained weights and untouched entries keep their bits.
 */
@NullMarked
package org.sparkpeft.core.peft.sparse;

import org.jspecify.annotations.NullMarked;
