/** Searches on validation data: the numbers of a merge, the settings of a compression. */
@NullMarked
package org.sparkpeft.federated.search;

import org.jspecify.annotations.NullMarked;
