/**
 * Where models are read from and written to: this machine, or any Hadoop file system. A location is
 * a path or a URI, and says itself which; other packages need not know.
 */
@NullMarked
package org.sparkpeft.merge.storage;

import org.jspecify.annotations.NullMarked;
