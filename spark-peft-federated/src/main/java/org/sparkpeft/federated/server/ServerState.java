package org.sparkpeft.federated.server;

import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * What the server optimiser carries from round to round.
 *
 * @param parameters the global parameters
 * @param moments the optimiser's own vectors by name, each in the layout of {@code parameters};
 *     empty for plain averaging
 */
public record ServerState(ParameterVector parameters, SortedMap<String, ParameterVector> moments) {
  public ServerState {
    moments = new TreeMap<>(moments);
    moments
        .values()
        .forEach(
            moment -> {
              if (!moment.layout().equals(parameters.layout())) {
                throw new IllegalArgumentException(
                    "a moment must have the layout of the parameters");
              }
            });
  }
}
