/**
 * Reparameterised methods: each gives linear layers another effective weight, made from few trained
 * numbers and the frozen weight.
 */
@NullMarked
package org.sparkpeft.core.peft.reparam;

import org.jspecify.annotations.NullMarked;
