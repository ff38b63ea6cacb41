package org.sparkpeft.core.io;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.vector.ParameterLayout;

/** Reads {@code model.safetensors.index.json}: which file holds which tensor. */
final class ShardIndex {
  private static final int MAX_BYTES = 100_000_000;

  private ShardIndex() {}

  /**
   * File name of each tensor, which lies beside the index.
   *
   * @throws FormatException if the index is malformed or names anything but files beside it
   */
  static SortedMap<String, String> read(FileSource source, String index) {
    ObjectNode json = Json.readObject(source, index, MAX_BYTES);
    if (!(json.get("weight_map") instanceof ObjectNode map) || map.isEmpty()) {
      throw new FormatException(index, "needs \"weight_map\": {tensor: file}; download it again");
    }
    SortedMap<String, String> shardOf = new TreeMap<>(ParameterLayout.UTF8_ORDER);
    for (Map.Entry<String, JsonNode> entry : map.properties()) {
      shardOf.put(entry.getKey(), shardName(index, entry.getKey(), entry.getValue()));
    }
    return shardOf;
  }

  /** A stranger's index must not be able to read files elsewhere. */
  private static String shardName(String index, String tensor, JsonNode value) {
    String name = value.isTextual() ? value.textValue() : "";
    boolean plain =
        name.endsWith(".safetensors")
            && name.chars().allMatch(c -> c > ' ' && "/\\:".indexOf(c) < 0);
    if (!plain) {
      throw new FormatException(
          index,
          "places "
              + tensor
              + " in "
              + value
              + "; a shard must be the plain name of a .safetensors file beside the index");
    }
    return name;
  }

  static DataException missing(String index, String shard) {
    return new DataException(index + " lists the shard " + shard + ", which is missing beside it");
  }

  static DataException notIn(String index, String tensor, String shard) {
    return new DataException(
        index
            + " places "
            + tensor
            + " in "
            + shard
            + ", which does not hold it; download both again");
  }
}
