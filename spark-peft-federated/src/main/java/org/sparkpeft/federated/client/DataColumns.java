package org.sparkpeft.federated.client;

import java.io.Serializable;

/**
 * Which columns hold what.
 *
 * @param text first text, or an array of words for token classification
 * @param pair second text, empty when there is none; of preferences, the completion
 * @param rejected rejected completion, empty when there is none
 * @param label label, empty for tasks without
 * @param client client id, empty when clients are made up
 */
public record DataColumns(String text, String pair, String rejected, String label, String client)
    implements Serializable {

  /** The same of rows without clients. */
  DataColumns withoutClient() {
    return new DataColumns(text, pair, rejected, label, "");
  }
}
