/** Comparing generated texts with references. A figure of parts is that of the whole, exactly. */
@NullMarked
package org.sparkpeft.core.metric;

import org.jspecify.annotations.NullMarked;
