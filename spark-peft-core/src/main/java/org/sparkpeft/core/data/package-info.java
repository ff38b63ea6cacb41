/** Tokenised, labelled examples of one client, and the bytes in which they travel. */
@NullMarked
package org.sparkpeft.core.data;

import org.jspecify.annotations.NullMarked;
