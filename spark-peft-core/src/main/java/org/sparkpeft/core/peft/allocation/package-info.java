/**
 * Parameter-efficient methods that decide during training where their parameters go: ranks, masks
 * and sparse positions. Training alone, an observer decides step by step, as the papers do. In a
 * federation clients only score, and the driver decides between rounds from the sum of all scores;
 * masks are never averaged.
 */
@NullMarked
package org.sparkpeft.core.peft.allocation;

import org.jspecify.annotations.NullMarked;
