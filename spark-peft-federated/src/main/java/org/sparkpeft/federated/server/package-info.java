/** The driver's state between rounds: server optimisers and the run store with its checkpoints. */
@NullMarked
package org.sparkpeft.federated.server;

import org.jspecify.annotations.NullMarked;
