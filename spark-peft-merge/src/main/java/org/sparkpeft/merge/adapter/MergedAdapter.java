package org.sparkpeft.merge.adapter;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.Collections;
import java.util.SortedMap;
import org.sparkpeft.core.io.TensorData;

/**
 * What merging adapters gives, in memory.
 *
 * @param config adapter_config.json
 * @param tensors by the name in the file
 * @param summary what a user should know
 */
public record MergedAdapter(
    ObjectNode config, SortedMap<String, TensorData> tensors, AdapterMerge.Summary summary) {
  public MergedAdapter {
    config = config.deepCopy();
    tensors = Collections.unmodifiableSortedMap(tensors);
  }
}
