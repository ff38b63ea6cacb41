package org.sparkpeft.federated.client;

import java.io.Serializable;

/**
 * Which columns hold what.
 *
 * @param input first text, an array of words for token classification, or an image or a recording
 * @param pair second text, empty when there is none
 * @param label label, empty for tasks without
 * @param client client id, empty when clients are made up
 */
public record DataColumns(String input, String pair, String label, String client)
    implements Serializable {}
