/**
 * Methods that share parameters between layers, tasks or experts: multi-task routing, pools of
 * shards, experts, Kronecker rules, hashed weights.
 */
@NullMarked
package org.sparkpeft.core.peft.sharing;

import org.jspecify.annotations.NullMarked;
