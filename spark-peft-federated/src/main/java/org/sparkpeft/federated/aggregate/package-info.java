/**
 * Combining the updates of a round: commutative, associative sums in fixed point, so that order and
 * tree shape do not matter.
 */
@NullMarked
package org.sparkpeft.federated.aggregate;

import org.jspecify.annotations.NullMarked;
