package org.sparkpeft.federated.config;

import java.io.Serializable;
import java.util.List;
import org.sparkpeft.core.error.Problems;

/**
 * Who owns which examples.
 *
 * @param partition {@code column}: the data says so; {@code iid}: at random; {@code dirichlet}:
 *     each label's examples are spread in Dirichlet proportions; {@code shard}: each client gets a
 *     few labels; {@code quantity}: same labels, Dirichlet sizes
 * @param column column that names the client, used by {@code column}
 * @param count number of clients, used by every other partition
 * @param concentration Dirichlet parameter of {@code dirichlet} and {@code quantity}; smaller is
 *     more uneven
 * @param labelsPerClient labels a client sees, used by {@code shard}
 * @param minExamples clients with fewer examples do not take part; drawn partitions are redrawn
 *     until each client has as many
 */
public record ClientsConfig(
    String partition,
    String column,
    int count,
    double concentration,
    int labelsPerClient,
    int minExamples)
    implements Serializable {
  public static final List<String> PARTITIONS =
      List.of("column", "iid", "dirichlet", "shard", "quantity");

  public ClientsConfig {
    new Problems()
        .require(
            PARTITIONS.contains(partition),
            "partition",
            partition,
            "must be one of " + String.join(", ", PARTITIONS))
        .require(
            !partition.equals("column") || !column.isBlank(),
            "column",
            "\"" + column + "\"",
            "partition column needs the name of the column that holds the client")
        .require(count >= 1 && count <= 10_000_000, "count", count, "must be 1..10000000")
        .require(
            concentration > 0 && concentration <= 1e6,
            "concentration",
            concentration,
            "must be above 0 and at most 1000000; 0.1 is very uneven, 100 nearly even")
        .require(
            labelsPerClient >= 1 && labelsPerClient <= 1_000_000,
            "labels_per_client",
            labelsPerClient,
            "must be 1..1000000")
        .require(
            minExamples >= 1 && minExamples <= 1_000_000,
            "min_examples",
            minExamples,
            "must be 1..1000000")
        .throwIfAny();
  }

  public static ClientsConfig defaults() {
    return new ClientsConfig("dirichlet", "", 20, 0.5, 2, 1);
  }

  /** Whether the number of clients is known before the data is read. */
  public boolean countIsKnown() {
    return !partition.equals("column");
  }
}
