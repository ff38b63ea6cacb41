/**
 * Training and evaluation on one client's examples: the local loop, task heads and losses,
 * optimisers, schedules, metrics. Knows nothing of Spark.
 */
@NullMarked
package org.sparkpeft.core.train;

import org.jspecify.annotations.NullMarked;
