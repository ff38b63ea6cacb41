/**
 * All trainable tensors of one adapter as a single flat {@code float[]} with a layout: the currency
 * of training, compression, aggregation and merging. Pure Java; knows neither Spark nor DJL.
 */
@NullMarked
package org.sparkpeft.core.vector;

import org.jspecify.annotations.NullMarked;
