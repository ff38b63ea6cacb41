/**
 * Updates as few bytes: sparsifiers, quantisers, entropy coders, and the payload that carries them.
 * Pure Java; every decoder takes bytes from strangers and checks them before it allocates.
 */
@NullMarked
package org.sparkpeft.merge.compress;

import org.jspecify.annotations.NullMarked;
