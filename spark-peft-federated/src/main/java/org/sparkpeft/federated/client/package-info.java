/**
 * Where the data is: rows become clients, and each client trains in a Spark task on the executor
 * that holds its rows.
 */
@NullMarked
package org.sparkpeft.federated.client;

import org.jspecify.annotations.NullMarked;
