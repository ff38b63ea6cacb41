package org.sparkpeft.federated.client;

import java.io.Serializable;

/**
 * Which columns hold what.
 *
 * @param input first text, an array of words for token classification, or an image or a recording
 * @param pair second text, empty when there is none; of preferences, the completion
 * @param rejected rejected completion, empty when there is none
 * @param label label, empty for tasks without
 * @param client client id, empty when clients are made up
 * @param task name or number of the task, empty where all is one task
 */
public record DataColumns(
    String input, String pair, String rejected, String label, String client, String task)
    implements Serializable {

  /** The same of rows without clients. */
  DataColumns withoutClient() {
    return new DataColumns(input, pair, rejected, label, "", task);
  }
}
