/**
 * Merge methods over task vectors, each a short composition of three steps: sparsify, elect,
 * combine. Pure Java.
 */
@NullMarked
package org.sparkpeft.merge.method;

import org.jspecify.annotations.NullMarked;
