/**
 * The command line: commands and their options, the embedded Spark session, a local standalone
 * cluster, progress. What the commands do with models and data is behind {@link
 * org.sparkpeft.federated.cli.Actions}.
 */
@NullMarked
package org.sparkpeft.federated.cli;

import org.jspecify.annotations.NullMarked;
