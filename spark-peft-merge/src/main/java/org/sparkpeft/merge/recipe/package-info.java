/**
 * What to merge and how, and that as tensors for {@code merge.spark}: the models a recipe names are
 * opened and compared, every tensor of the result gets its sources, its method and its numbers.
 */
@NullMarked
package org.sparkpeft.merge.recipe;

import org.jspecify.annotations.NullMarked;
