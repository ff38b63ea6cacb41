/**
 * Randomness as a pure function: every number is determined by a seed, a purpose and a position,
 * never by the order of calls, so any node can draw the same number without anything travelling.
 * Pure Java.
 */
@NullMarked
package org.sparkpeft.core.random;

import org.jspecify.annotations.NullMarked;
