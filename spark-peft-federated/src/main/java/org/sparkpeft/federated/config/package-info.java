/**
 * A run as data: the {@link org.sparkpeft.federated.config.Recipe} and its sections, read from YAML
 * with a file and line for every mistake, and written back with every default spelled out.
 */
@NullMarked
package org.sparkpeft.federated.config;

import org.jspecify.annotations.NullMarked;
