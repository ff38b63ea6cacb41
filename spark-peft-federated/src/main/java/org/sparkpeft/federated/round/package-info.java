/**
 * The driver's loop: sample a cohort, broadcast the compressed global update, collect and fold the
 * clients' updates, step the server, evaluate, checkpoint. Publishes what happens as {@link
 * org.sparkpeft.federated.round.RunEvent}s.
 */
@NullMarked
package org.sparkpeft.federated.round;

import org.jspecify.annotations.NullMarked;
