package org.sparkpeft.federated.client;

import java.util.List;
import org.sparkpeft.core.model.TokenExamples;

/** Turns rows into what the model reads, as the task wants it. */
interface ExampleEncoder {

  /** A client's rows, with labels. */
  ClientShard shard(String clientId, List<RawExample> rows);

  /** Rows without labels, in the order given. */
  TokenExamples unlabelled(List<RawExample> rows);
}
